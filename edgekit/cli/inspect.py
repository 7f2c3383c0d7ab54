"""``edgekit inspect``: what is in a bundle, for a person or (``--json``) for a program.

In: a bundle, or the name of an exported one. Out, on stdout: what it does, how large and how precise it is, where its
weights came from and under which licence, its files, the inputs and outputs of its graphs, how it generates, and what
was measured; with ``--error`` its quantised tensors one by one. It opens the bundle as the runtime does, so a damaged
or hostile one is refused.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Table

from edgekit.bundle.consistency import GRAPH_NAMES
from edgekit.bundle.manifest import Manifest, Port, StateTensor, TextGeneration
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.bundle.single_file import PackedFile
from edgekit.cache import find_bundle
from edgekit.cli.output import stdout_console
from edgekit.cli.tensor_errors import show_errors
from edgekit.errors import BundleError, InputError

JSON_SCHEMA_VERSION = 1
# Of a decoder-only model; a hostile manifest may claim any number of layers.
MOST_WEIGHTS = 100_000
# As in the safetensors library.
MAX_HEADER_BYTES = 100_000_000
# A decoder-only bundle's sines and cosines, in its weights file.
ROTARY_TABLES = frozenset(f"rotary.{local}{function}" for local in ("", "local_") for function in ("cos", "sin"))


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the manifest, and what follows from it.")
@click.option("--error", is_flag=True, help="Measure each quantised tensor's error, its cost alone and its time.")
@click.option("--against", metavar="FP32", help="With --error: the fp32 bundle; default NAME-fp32 beside BUNDLE.")
@click.option("--dev", metavar="NAME|FILE", help="With --error: development text; default what is packaged.")
def command(bundle: str, as_json: bool, error: bool, against: str | None, dev: str | None) -> None:
    """Show what is in BUNDLE: a directory, or the name of an exported model.

    \b
    Examples:
      edgekit inspect ./marian-en-de-int8
      edgekit inspect marian-en-de --json
      edgekit inspect ./marian-en-de-int8 --error --against ./marian-en-de-fp32
    """
    opened = open_bundle(find_bundle(bundle))
    if error:
        show_errors(opened, against, dev, as_json)
        return
    if against is not None or dev is not None:
        raise InputError("--against and --dev belong to --error; give it, too, or leave them out")
    parameters = count_parameters(opened)
    if as_json:
        click.echo(json.dumps(describe(opened, parameters), sort_keys=True, indent=2, ensure_ascii=False))
        return
    console = stdout_console()
    for number, table in enumerate(build_tables(opened, parameters)):
        if number:
            console.print()
        console.print(table)


def count_parameters(bundle: Bundle) -> int:
    """Returns the number of weights in the bundle's safetensors files.

    Not counted: what belongs to a quantised tensor (scales, zero points, offsets), and tables that are calculated.

    Raises:
        BundleError: One of them is not a safetensors file.
        UnsupportedError: A decoder-only bundle's architecture is not what it should be.
    """
    architecture = bundle.manifest.architecture
    if architecture.get("imported") is True and type(architecture.get("parameters")) is int:
        # What shape a matrix in blocks had, the graphs of another exporter alone would tell.
        return int(architecture["parameters"])
    tensors = bundle.manifest.quantization.tensors
    parts = {name for tensor in tensors.values() for name in (tensor.scale, tensor.zero_point, tensor.offset)}
    parts -= tensors.keys()  # offsets behind the values have their name
    shapes = _block_shapes(bundle.manifest)
    count = 0
    for name in bundle.manifest.files:
        if not name.endswith(".safetensors"):
            continue
        for key, shape in _stored_shapes(bundle.file(name)).items():
            if key not in parts and not key.endswith("_scale") and key not in ROTARY_TABLES:
                count += math.prod(shapes.get(key) or shape)
    return count


def _stored_shapes(file: Path | PackedFile) -> dict[str, list[int]]:
    """The shape of each tensor in a safetensors file, by its header (https://huggingface.co/docs/safetensors)."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        shapes = {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}
        if all(isinstance(size, int) and size >= 0 for shape in shapes.values() for size in shape):
            return shapes
        found = "shapes that are none"
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, struct.error) as error:
        found = " ".join(str(error).split())
    raise BundleError(f"{file}: expected a safetensors file, found {found}; export the model again")


def _block_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that are stored in blocks, which are padded and may hold two values a byte."""
    blocks = {name for name, tensor in manifest.quantization.tensors.items() if tensor.granularity == "per-block"}
    if not blocks:
        return {}
    from edgekit.graph.causal_lm_config import CausalLMConfig
    from edgekit.graph.causal_lm_weights import weight_shapes

    shapes = itertools.islice(weight_shapes(CausalLMConfig.from_dict(manifest.architecture)), MOST_WEIGHTS)
    return {name: shape for name, shape in shapes if name in blocks}


def describe(bundle: Bundle, parameters: int) -> dict[str, Any]:
    """The content of ``--json``: ``schema_version``, ``path``, ``parameters``, ``size_bytes`` and ``manifest``."""
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "path": str(bundle.path),
        "parameters": parameters,
        "size_bytes": bundle.size_bytes,
        "manifest": asdict(bundle.manifest),
    }


def build_tables(bundle: Bundle, parameters: int) -> list[Table]:
    """What a person reads: one table a subject, in the order in which they ask."""
    manifest = bundle.manifest
    files = [(name, decimal(record.size_bytes)) for name, record in sorted(manifest.files.items())]
    tables = [
        _table(None, (), _overview(bundle, parameters)),
        _table("Architecture", (), flatten(manifest.architecture)),
        _table("Generation", (), flatten(asdict(manifest.generation))),
        _table("Graphs", ("graph", "", "name", "dtype", "shape"), _ports(manifest)),
        _table("State", ("name", "kind", "past", "present", "dtype", "shape"), _states(manifest)),
        _table("Files", ("name", "size"), files),
    ]
    if manifest.measured:
        tables.append(_table("Measured", (), flatten(manifest.measured)))
    return tables


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as (dotted key, text) pairs: ``{"a": {"b": None}}`` becomes ``[("a.b", "none")]``."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{key}", "none" if value is None or not text else text))
    return rows


def _table(title: str | None, header: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(*header, title=title, title_justify="left", show_header=bool(header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _overview(bundle: Bundle, parameters: int) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    source = manifest.source
    revision = f", revision {source.revision}" if source.revision else ""
    return [
        ("name", manifest.name),
        ("kind", f"{manifest.kind}, {manifest.task}"),
        *_use(manifest),
        ("parameters", f"{parameters:,}"),
        ("size", decimal(bundle.size_bytes)),
        ("precision", _precision(manifest)),
        ("source", f"{source.type}: {source.id}{revision}"),
        ("licence", source.license or "not stated by the source"),
        ("written by", ", ".join(f"{name} {version}" for name, version in sorted(manifest.created_by.items()))),
        ("path", str(bundle.path)),
    ]


def _precision(manifest: Manifest) -> str:
    """The scheme, with how many tensors are stored how: ``int8 (25 tensors int8 per-tensor; activations static)``."""
    quantization = manifest.quantization
    kinds = Counter(f"{tensor.dtype} {tensor.granularity}" for tensor in quantization.tensors.values())
    details = [f"{count} tensors {kind}" for kind, count in sorted(kinds.items())]
    if quantization.activations:
        details.append(f"activations {quantization.activations}")
    if quantization.source:
        details.append(f"of a source quantised in {quantization.source}")
    return manifest.precision + (f" ({'; '.join(details)})" if details else "")


def _use(manifest: Manifest) -> list[tuple[str, str]]:
    """What matters of this kind: languages and shortlist of a translator, context and chat of a generator."""
    if isinstance(manifest.generation, TextGeneration):
        chat = "no template" if manifest.chat is None else manifest.chat.template
        return [("context", f"{manifest.generation.context_length:,} tokens"), ("chat", chat)]
    languages = manifest.languages
    return [
        ("languages", f"{languages.source or 'any'} to {languages.target or 'any'}"),
        ("shortlist", _shortlist(manifest)),
    ]


def _shortlist(manifest: Manifest) -> str:
    if manifest.shortlist is None:
        return "none"
    return f"{manifest.shortlist.file}, with the {manifest.shortlist.first} most frequent target tokens always"


def _ports(manifest: Manifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in GRAPH_NAMES[manifest.kind]:
        graph = manifest.graphs[name]
        for direction, ports in (("input", graph.inputs), ("output", graph.outputs)):
            rows += [(name, direction, *row) for row in _merge([(p.name, p.dtype, _shape(p)) for p in ports])]
    return rows


def _states(manifest: Manifest) -> list[tuple[str, ...]]:
    return _merge(
        [
            (state.name, state.kind, state.past, state.present or "none", state.dtype, _shape(state))
            for state in manifest.state
        ]
    )


def _merge(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows that differ in a layer's number only, as one: ``("past_key_0",), ("past_key_1",)`` -> ``past_key_{0-1}``.

    Cells without a number at their end must be equal; the rows keep the order in which their first ones come.
    """
    layers: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        number = re.search(r"\d+$", row[0])
        last = number[0] if number else ""
        layers.setdefault(tuple(re.sub(rf"_{last}$", "_*", cell) if last else cell for cell in row), []).append(last)
    merged = []
    for row, numbers in layers.items():
        span = numbers[0] if len(numbers) == 1 else f"{{{numbers[0]}-{numbers[-1]}}}"
        merged.append(tuple(re.sub(r"_\*$", f"_{span}", cell) for cell in row))
    return merged


def _shape(port: Port | StateTensor) -> str:
    return f"[{', '.join(map(str, port.shape))}]"
