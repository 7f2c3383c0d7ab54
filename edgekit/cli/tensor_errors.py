"""``edgekit inspect --error``: a quantised bundle tensor by tensor, beside its fp32 one.

In: a bundle, and its fp32 one; without that it is looked for beside the bundle, here and in the cache. Out: a table, or
JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from edgekit.bundle.files import MANIFEST_NAME
from edgekit.bundle.read import Bundle
from edgekit.cache import find_bundle
from edgekit.cli.output import progress, stdout_console
from edgekit.errors import InputError, ModelNotFoundError

if TYPE_CHECKING:
    from edgekit.gate.tensor_errors import ErrorReport

__all__ = ["show_errors"]

JSON_SCHEMA_VERSION = 1


def show_errors(bundle: Bundle, against: str | None, dev: str | None, as_json: bool) -> None:
    """Measures a bundle's tensors and prints them.

    Raises:
        InputError: there is no fp32 bundle of the same weights, or the development text can't be used.
    """
    from edgekit.gate.tensor_errors import measure_errors

    fp32 = find_bundle(against) if against is not None else find_beside(bundle)
    with progress("tensor by tensor", len(bundle.manifest.quantization.tensors)) as bar:
        report = measure_errors(bundle.path, fp32, dev, bar.advance)
    if as_json:
        content = {"schema_version": JSON_SCHEMA_VERSION, "path": str(bundle.path), **asdict(report)}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    console = stdout_console()
    console.print(error_table(report))
    unit = "sentence" if bundle.manifest.task == "translation" else "token"
    console.print(
        f"output KL: nats a token from fp32 where that tensor alone is quantised, mean of {report.tokens} tokens of "
        f"{report.text}; all together {report.together_kl:.2g}. time: of {report.micros:,.0f} µs a {unit}, one thread, "
        f"profiled here. fp32: {report.against}"
    )


def find_beside(bundle: Bundle) -> Path:
    """The fp32 bundle of the same name: beside a bundle, in the current directory or in the cache.

    Raises:
        InputError: there is none.
    """
    name = f"{bundle.manifest.name}-fp32"
    beside = bundle.path.parent / name
    if (beside / MANIFEST_NAME).is_file():
        return beside
    try:
        return find_bundle(name)
    except ModelNotFoundError:
        raise InputError(
            f"--error compares with the fp32 bundle, and there is no {name} beside {bundle.path}, here or in the "
            "cache: give its path with --against, or make it with `edgekit export --precision fp32`"
        ) from None


def error_table(report: ErrorReport) -> Table:
    """The tensors, those that cost most first."""
    table = Table("tensor", "stored as", box=None, pad_edge=False)
    for header in ("shape", "bits/weight", "SNR dB", "output KL", "time"):
        table.add_column(header, justify="right")
    for tensor in report.tensors:
        table.add_row(
            tensor.name.removesuffix(".weight"),
            tensor.scheme,
            " x ".join(map(str, tensor.shape)),
            f"{tensor.bits_per_weight:.2f}",
            "exact" if tensor.snr_db is None else f"{tensor.snr_db:.1f}",
            f"{tensor.output_kl:.2g}",
            f"{100 * tensor.time_share:.1f} %",
        )
    return table
