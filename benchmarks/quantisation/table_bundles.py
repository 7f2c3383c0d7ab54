"""A model's bundles, one of each scheme, made in a directory of their own and used again while nothing changes.

In: a model as `edgekit export` takes it. Out: bundles by scheme, fp32 first, and why a scheme was refused. What needs
a calibration gets that of development text.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import edgekit
from edgekit.bundle.read import open_bundle
from edgekit.errors import EdgekitError
from edgekit.export import export_checkpoint
from edgekit.export.sources.resolve import resolve_checkpoint
from edgekit.gate.budget import parse_budget
from edgekit.gate.calibration import calibrate_on_development
from edgekit.gate.default_scheme import CALIBRATED, calibration_texts, is_calibrated_by_default
from edgekit.gate.search import SearchSettings, search_mix
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.scheme import SCHEMES, named_scheme

FLOAT, MIX = "fp32", "mix"


def say(message: str) -> None:
    """A line on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def no_bar(description: str, total: float | None = None, unit: str = "items") -> Iterator[Any]:
    """Progress of downloads and searches: nothing."""

    class Bar:
        def advance(self, n: float = 1) -> None: ...

        def set_total(self, total: float) -> None: ...

    yield Bar()


def make_bundles(model: str, work: Path, source: str | None) -> tuple[dict[str, Path], dict[str, str]]:
    """Bundles by scheme, fp32 first; and by scheme, why others were refused.

    Args:
        model: a recipe's name, or a checkpoint's directory.
        work: where bundles are kept, in a directory of the model's name.
        source: as `edgekit export` has it.
    """
    checkpoint = resolve_checkpoint(model, source, notify=say, progress=no_bar)
    directory = work / checkpoint.name
    fp32, stamp = directory / FLOAT, directory / "made-of.json"
    made_of = json.dumps([checkpoint.source, code_hash()])
    if fp32.is_dir() and not (stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of):
        say(f"{model}: its weights, or what makes bundles of them, are others than before: bundles are made again")
        for made in directory.glob("*/bundle.json"):
            shutil.rmtree(made.parent)
    if not fp32.is_dir():
        export_checkpoint(checkpoint, FLOAT, fp32, notify=say)
        stamp.write_text(made_of, encoding="utf-8")
    manifest = open_bundle(fp32).manifest
    kind = manifest.kind
    # Plain int8 has another name, too: one row is enough.
    is_calibrated = is_calibrated_by_default(manifest)
    another_name = "int8" if is_calibrated else "int8-blocks" if kind == "causal-lm" else None
    bundles, refused, calibration = {FLOAT: fp32}, {}, None
    for name in SCHEMES[kind]:
        path, scheme = directory / name, named_scheme(kind, name)
        if name in (FLOAT, another_name):
            continue
        try:
            if not path.is_dir():
                if scheme.needs_calibration and calibration is None:
                    calibration = calibrate_on_development(fp32, None, calibration_texts(kind))
                say(f"{model}: {name}")
                quantize_bundle(fp32, None, path, scheme=scheme, calibration=calibration)
            # What a checkpoint quantised itself may stay as it is under several names.
            if identity(path) not in map(identity, bundles.values()):
                bundles[name] = path
        except EdgekitError as error:
            refused[name] = str(error).removeprefix(f"{fp32}: ").removeprefix(f"{fp32} ")
    return bundles, refused


def code_hash() -> str:
    """Of the code that decides what a bundle holds."""
    package = Path(edgekit.__file__).parent
    files = sorted(file for part in ("export", "graph", "quantize") for file in (package / part).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def add_mix(fp32: Path, budgets: list[str], cost: str) -> tuple[Path | None, str | None]:
    """The mix that ``edgekit quantize --search`` finds, or why there is none; a search goes on where it was."""
    path = fp32.parent / f"{MIX}-{cost}"
    if path.is_dir():
        return path, None
    try:
        settings = SearchSettings(tuple(map(parse_budget, budgets)), None, cost)
        return search_mix(fp32, path, settings, force=False, notify=say, progress=no_bar), None
    except EdgekitError as error:
        return None, str(error)


def default_name(bundles: Mapping[str, Path]) -> str:
    """The scheme that plain int8 is."""
    kind = open_bundle(bundles[FLOAT]).manifest.kind
    return CALIBRATED[kind] if "int8" not in bundles else "int8"


def identity(bundle: Path) -> str:
    """What decides a bundle's output: the hashes of all its files."""
    files = open_bundle(bundle).manifest.files
    return json.dumps({name: files[name].sha256 for name in sorted(files)})


def describe(bundle: Path) -> dict[str, Any]:
    """What a table says of a bundle that needs no measurement."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    measured = manifest.measured or {}
    described: dict[str, Any] = {
        "size_mb": round(opened.size_bytes / 1e6, 3),
        "activations": manifest.quantization.activations,
    }
    if "search" in measured:
        formats = list(measured["search"]["formats"].values())
        described["mix"] = {name: formats.count(name) for name in sorted(set(formats))}
        described["gate"] = measured["gate"]
    return described
