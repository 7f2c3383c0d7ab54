"""``edgekit inspect``: what is in a bundle, for a person or (``--json``) for a program.

In: a bundle's directory, or the name of an exported one. Out, on stdout: what it translates, how large and how precise
it is, where its weights came from and under which licence, its files, the inputs and outputs of its graphs, how it
generates, and what was measured. It opens the bundle as the runtime does, so a damaged or hostile one is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Table
from safetensors import SafetensorError, safe_open

from edgekit.bundle.consistency import GRAPH_NAMES
from edgekit.bundle.manifest import Manifest, Port, StateTensor
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.cache import find_bundle
from edgekit.cli.output import stdout_console
from edgekit.errors import BundleError

JSON_SCHEMA_VERSION = 1


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the manifest, and what follows from it.")
def command(bundle: str, as_json: bool) -> None:
    """Show what is in BUNDLE: a directory, or the name of an exported model.

    \b
    Examples:
      edgekit inspect ./marian-en-de-int8
      edgekit inspect marian-en-de --json
    """
    opened = open_bundle(find_bundle(bundle))
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
    """Returns the number of weights in the bundle's safetensors files; scales of quantised tensors are not counted.

    Raises:
        BundleError: One of them is not a safetensors file.
    """
    tensors = bundle.manifest.quantization.tensors.values()
    scales = {tensor.scale for tensor in tensors}
    count = 0
    for name in bundle.manifest.files:
        if not name.endswith(".safetensors"):
            continue
        path = bundle.file(name)
        try:
            with safe_open(path, framework="numpy") as file:
                weights = (key for key in file.keys() if key not in scales and not key.endswith("_scale"))  # noqa: SIM118
                count += sum(math.prod(file.get_slice(key).get_shape()) for key in weights)
        except SafetensorError as error:
            raise BundleError(f"{path}: expected a safetensors file, found {error}; export the model again") from None
    return count


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
            rows.append((f"{prefix}{key}", "none" if value is None else text))
    return rows


def _table(title: str | None, header: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(*header, title=title, title_justify="left", show_header=bool(header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _overview(bundle: Bundle, parameters: int) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    languages, source = manifest.languages, manifest.source
    revision = f", revision {source.revision}" if source.revision else ""
    return [
        ("name", manifest.name),
        ("kind", f"{manifest.kind}, {manifest.task}"),
        ("languages", f"{languages.source or 'any'} to {languages.target or 'any'}"),
        ("parameters", f"{parameters:,}"),
        ("size", decimal(bundle.size_bytes)),
        ("precision", _precision(manifest)),
        ("source", f"{source.type}: {source.id}{revision}"),
        ("licence", source.license or "not stated by the source"),
        ("shortlist", _shortlist(manifest)),
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
    return manifest.precision + (f" ({'; '.join(details)})" if details else "")


def _shortlist(manifest: Manifest) -> str:
    if manifest.shortlist is None:
        return "none"
    return f"{manifest.shortlist.file}, with the {manifest.shortlist.first} most frequent target tokens always"


def _ports(manifest: Manifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in GRAPH_NAMES[manifest.kind]:
        graph = manifest.graphs[name]
        for direction, ports in (("input", graph.inputs), ("output", graph.outputs)):
            rows += [(name, direction, port.name, port.dtype, _shape(port)) for port in ports]
    return rows


def _states(manifest: Manifest) -> list[tuple[str, ...]]:
    return [
        (state.name, state.kind, state.past, state.present or "none", state.dtype, _shape(state))
        for state in manifest.state
    ]


def _shape(port: Port | StateTensor) -> str:
    return f"[{', '.join(map(str, port.shape))}]"
