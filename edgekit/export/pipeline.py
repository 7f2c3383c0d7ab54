"""Checkpoint in, checked bundle out: resolve, read, quantise, build, check, write."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import __version__
from edgekit.bundle.generation import Chat
from edgekit.bundle.manifest import (
    Languages,
    Manifest,
    SelfCheck,
    ShortlistFile,
    Source,
    TokenizerFiles,
)
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.cache import PRECISIONS
from edgekit.errors import BundleError, InputError, ModelNotFoundError, SourceError
from edgekit.export.learned_shortlist import learn_shortlist, read_lines
from edgekit.export.model import CausalLMModel, FloatWeights, Seq2SeqModel
from edgekit.export.onnx_import import TRACED, import_through_optimum
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_causal_lm import read_causal_lm
from edgekit.export.read_gguf import read_gguf
from edgekit.export.read_marian import read_marian
from edgekit.export.read_seq2seq import read_seq2seq
from edgekit.export.sources.checkpoint import Checkpoint, Kind, Progress, no_progress
from edgekit.export.sources.resolve import resolve_checkpoint
from edgekit.graph.causal_lm import write_causal_lm
from edgekit.graph.causal_lm_check import SELF_CHECK_TOKENS, check_causal_lm, record_continuation
from edgekit.graph.check import check_graphs, record_self_check
from edgekit.graph.seq2seq import write_graphs
from edgekit.graph.weights_file import Weights
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.recipes import find_recipe
from edgekit.runtime.hub_tokenizer import HubTokenizer
from edgekit.runtime.text_tokenizer import load_text_tokenizer
from edgekit.runtime.translator import Translator

READERS: Mapping[Kind, Callable[[Checkpoint], Seq2SeqModel | CausalLMModel]] = {
    "marian": read_marian,
    "seq2seq": read_seq2seq,
    "bergamot": read_bergamot,
    "causal-lm": read_causal_lm,
    "gguf": read_gguf,
}
SHORTLIST_FILE = "shortlist.npz"
TOKENIZER_FILE = "tokenizer.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
# One short sentence that a bundle's self-check translates or goes on from: its ids are what counts.
SELF_CHECK_TEXT = "The weather is fine today."


def export(
    model: str,
    precision: str = "int8",
    output: Path | None = None,
    source: str | None = None,
    *,
    shortlist_text: Path | None = None,
    force: bool = False,
    notify: Callable[[str], None] = lambda message: None,
    progress: Progress = no_progress,
) -> Path:
    """Exports a model into a bundle.

    Args:
        model: a recipe's name, ``org/name[@revision]`` on the hub, a local directory or a ``.gguf`` file.
        precision: "int8", "fp32", or for a decoder-only model "int4". Nothing is calibrated here: a translator's int8
            finds its activation scales as it runs, or has those that its checkpoint ships; a language model's has
            blocks of 32, or a GGUF file's own Q8_0.
        output: the bundle's directory; None for ``./<name>-<precision>``.
        source: "hub", "embedded", "pypi", "registry" or a path: take exactly that; None for the recipe's order.
        shortlist_text: sentences of the source language, from whose translations a shortlist is learned (see
            `edgekit.export.learned_shortlist`); None for none but the checkpoint's own.
        force: replace an existing bundle.
        notify: called with one line when something other than asked for is used, and with what a learned shortlist is
            worth.
        progress: opens a display for downloads.

    Returns:
        The bundle's directory.

    Raises:
        EdgekitError: one of its subclasses, whatever went wrong; nothing is left half-written.
    """
    _check_precision(precision, _recipe_task(model))  # before anything is fetched
    checkpoint = resolve_checkpoint(model, source, notify=notify, progress=progress)
    return export_checkpoint(checkpoint, precision, output, shortlist_text=shortlist_text, force=force, notify=notify)


def export_checkpoint(
    checkpoint: Checkpoint,
    precision: str = "int8",
    output: Path | None = None,
    *,
    shortlist_text: Path | None = None,
    force: bool = False,
    notify: Callable[[str], None] = lambda message: None,
) -> Path:
    """Exports a checkpoint whose files are on this disk; arguments, result and errors as `export`'s."""
    _check_precision(precision, checkpoint.task)
    if checkpoint.kind in TRACED:
        return import_through_optimum(checkpoint, precision, output, force=force)
    target = output or Path(f"{checkpoint.name}-{precision}")
    lines = None if shortlist_text is None else read_lines(shortlist_text)
    with stage_bundle(target, force) as directory:
        model = READERS[checkpoint.kind](checkpoint)
        for line in model.unapplied if isinstance(model, Seq2SeqModel) else ():
            notify(f"{checkpoint.name}: {line}")
        if lines is not None:
            model = _with_learned_shortlist(checkpoint, model, precision, lines, notify)
        write_bundle(directory, checkpoint, model, precision)
    return target


def _with_learned_shortlist(
    checkpoint: Checkpoint,
    model: Seq2SeqModel | CausalLMModel,
    precision: str,
    lines: Sequence[str],
    notify: Callable[[str], None],
) -> Seq2SeqModel:
    """The model with a shortlist learned from what it makes of ``lines``."""
    if not isinstance(model, Seq2SeqModel):
        raise InputError(f"{checkpoint.name} is no translation model: it takes no shortlist; export without")
    if model.shortlist is not None:
        raise InputError(f"{checkpoint.name} comes with a shortlist of its own; export it without the text")
    files, generation = model.tokenizer_files, model.generation
    with tempfile.TemporaryDirectory(prefix="edgekit-shortlist-") as full:
        write_bundle(Path(full), checkpoint, model, precision)
        translator = Translator.load(full)
        room = generation.max_source_tokens - len(generation.source_prefix) - 1
        sources = [
            [*generation.source_prefix, *translator.source_tokenizer.encode(line)[:room], generation.eos_token_id]
            for line in lines
        ]
        learned = learn_shortlist(
            sources,
            translator.generate_ids(sources),
            (files.source_vocab_size, files.target_vocab_size),
            is_shared=files.source == files.target,
        )
    notify(learned.describe(files.target_vocab_size, precision))
    config = dataclasses.replace(model.config, has_shortlist=True)
    return dataclasses.replace(model, config=config, shortlist=learned.arrays)


def write_bundle(
    directory: Path, checkpoint: Checkpoint, model: Seq2SeqModel | CausalLMModel, precision: str
) -> Manifest:
    """Writes all files of a bundle into a staged directory, the manifest last, and checks the graphs."""
    record: Callable[[Path, Manifest], Manifest]
    if isinstance(model, Seq2SeqModel):
        content, record = _write_seq2seq(directory, model, precision), record_self_check
    else:
        content, record = _write_causal_lm(directory, model, precision), record_continuation
    for document in checkpoint.documents:
        shutil.copyfile(document, directory / document.name)
    manifest = Manifest(
        **content,
        name=checkpoint.name,
        precision=precision,
        architecture=model.config.to_dict(),
        languages=Languages(**checkpoint.languages),
        task=checkpoint.task,
        source=Source(**checkpoint.source),
        generation=model.generation,
        measured=None,
        created_by={"edgekit": __version__},
    )
    return write_manifest(directory, record(directory, manifest))


def _write_seq2seq(directory: Path, model: Seq2SeqModel, precision: str) -> dict[str, Any]:
    """Writes graphs, weights, tokenizers and shortlist; what the manifest says of them."""
    # In fp32 they are not kept, but calculated again for the check.
    weights = (
        model.weights if precision == "fp32" else quantize_weights(model.weights, named_scheme("seq2seq", precision))
    )
    files = write_graphs(directory, model.config, weights, precision)
    check_graphs(directory, model.config, weights, precision)
    for name, text in model.tokenizers.items():
        _write_text(directory / name, text)
    if model.shortlist is not None:
        shortlist = model.shortlist
        np.savez(directory / SHORTLIST_FILE, offsets=shortlist.offsets, target_ids=shortlist.target_ids)
    tokenizer_files, generation = model.tokenizer_files, model.generation
    tokenizer = load_text_tokenizer(
        directory / tokenizer_files.source, tokenizer_files, tokenizer_files.source_vocab_size, generation.unk_token_id
    )
    ids = [*generation.source_prefix, *tokenizer.encode(SELF_CHECK_TEXT)][: generation.max_source_tokens - 1]
    return {
        **vars(files),
        "kind": "seq2seq",
        "tokenizer": tokenizer_files,
        "shortlist": ShortlistFile(SHORTLIST_FILE, model.shortlist.first) if model.shortlist else None,
        "self_check": SelfCheck((*ids, generation.eos_token_id), ()),
        "language_tokens": model.language_tokens,
    }


def _write_causal_lm(directory: Path, model: CausalLMModel, precision: str) -> dict[str, Any]:
    """Writes graph, weights, tokenizer and chat template; what the manifest says of them."""
    # In fp32 a billion parameters are 4 GB: they are not kept, but read again for the check.
    is_float = precision == "fp32"
    weights: Weights = (
        FloatWeights(model.weights)
        if is_float
        else quantize_weights(model.weights, named_scheme("causal-lm", precision))
    )
    files = write_causal_lm(directory, model.config, weights, precision)
    check_causal_lm(directory, model.config, weights, precision)
    _write_text(directory / TOKENIZER_FILE, model.tokenizer_json)
    if model.chat_template is not None:
        _write_text(directory / CHAT_TEMPLATE_FILE, model.chat_template)
    return {
        "kind": "causal-lm",
        "graphs": files.graphs,
        "state": files.state,
        "quantization": dataclasses.replace(files.quantization, source=model.source_quantization),
        "tokenizer": TokenizerFiles(TOKENIZER_FILE, TOKENIZER_FILE, model.vocab_size, model.vocab_size),
        "chat": None if model.chat_template is None else Chat(CHAT_TEMPLATE_FILE, model.special_tokens),
        "shortlist": None,
        "self_check": SelfCheck(_prompt_ids(directory, model), ()),
    }


def _prompt_ids(directory: Path, model: CausalLMModel) -> tuple[int, ...]:
    """The ids that a bundle's self-check goes on from."""
    try:
        ids = HubTokenizer.load(directory / TOKENIZER_FILE, model.vocab_size).encode(SELF_CHECK_TEXT)
    except BundleError as error:
        reason = str(error).removeprefix(f"{directory / TOKENIZER_FILE}: ").partition("; export")[0]
        raise SourceError(f"the checkpoint's tokenizer can't be used: {reason}") from None
    generation = model.generation
    if generation.adds_bos and generation.bos_token_id is not None:
        ids = [generation.bos_token_id, *ids]
    return tuple(ids[: model.config.context_length - SELF_CHECK_TOKENS])


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())  # the same bytes on Windows


def _check_precision(precision: str, task: str | None) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == "int4" and task in ("translation", "text2text"):
        raise InputError("int4 is for decoder-only models; choose int8 or fp32 for this one")


def _recipe_task(model: str) -> str | None:
    try:
        return find_recipe(model).task
    except ModelNotFoundError:
        return None
