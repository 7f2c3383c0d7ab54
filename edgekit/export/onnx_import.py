"""A folder of ONNX graphs that optimum exported in, checked bundle out.

The graphs get edgekit's own inputs and outputs (`edgekit.graph.foreign_causal_lm`, `edgekit.graph.foreign_seq2seq`), so
everything that runs, measures or quantises a bundle does so without knowing where its graphs came from.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit import __version__
from edgekit.bundle.generation import Chat, Generation, TextGeneration
from edgekit.bundle.manifest import Languages, Manifest, Quantization, SelfCheck, Source, TokenizerFiles
from edgekit.bundle.write import check_target, stage_bundle, write_manifest
from edgekit.cache import PRECISIONS
from edgekit.errors import BundleError, InputError, SourceError
from edgekit.export.check_import import check_imported_seq2seq, check_imported_text_model
from edgekit.export.foreign_weights import ForeignWeights
from edgekit.export.onnx_folder import OnnxFolder
from edgekit.export.optimum import TASKS, export_with_optimum
from edgekit.export.read_onnx import ImportedModel, read_imported_seq2seq, read_imported_text_model
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.onnx_directory import read_onnx_directory
from edgekit.export.sources.resolve import plain_name
from edgekit.graph import foreign_causal_lm, foreign_seq2seq
from edgekit.graph.causal_lm import MODEL_FILE
from edgekit.graph.causal_lm_check import SELF_CHECK_TOKENS, record_continuation
from edgekit.graph.check import record_self_check
from edgekit.graph.describe import GraphFiles, describe_graph
from edgekit.graph.foreign import IMPORTED, ForeignGraph
from edgekit.graph.seq2seq import BEAM_DECODER_FILE, DECODER_FILE, ENCODER_FILE
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights, save_weights
from edgekit.quantize.bundle import quantize_bundle
from edgekit.runtime.hub_tokenizer import HubTokenizer

TOKENIZER_FILE, CHAT_TEMPLATE_FILE = "tokenizer.json", "chat_template.jinja"
SELF_CHECK_TEXT = "The weather is fine today."
# Kinds of checkpoints that optimum has to export first.
TRACED = ("optimum-causal-lm", "optimum-seq2seq")
GRAPH_ROLES = ("encoder", "decoder", "decoder_with_past", "model")


def import_onnx(directory: Path, precision: str = "int8", output: Path | None = None, *, force: bool = False) -> Path:
    """Imports a directory that optimum exported; see `import_checkpoint`."""
    return import_checkpoint(read_onnx_directory(directory, plain_name(directory)), precision, output, force=force)


def import_checkpoint(
    checkpoint: Checkpoint, precision: str = "int8", output: Path | None = None, *, force: bool = False
) -> Path:
    """Imports a checkpoint of kind ``onnx``.

    Args:
        checkpoint: its files.
        precision: "fp32", "int8", or for a decoder-only model "int4".
        output: the bundle's directory; None for ``./<name>-<precision>``.
        force: replace an existing bundle.

    Returns:
        The bundle's directory.

    Raises:
        EdgekitError: one of its subclasses, whatever went wrong; nothing is left half-written.
    """
    graphs = OnnxFolder({role: checkpoint.files[role] for role in GRAPH_ROLES if role in checkpoint.files})
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == "int4" and graphs.kind == "seq2seq":
        raise InputError("int4 is for decoder-only models; choose int8 or fp32 for this one")
    target = output or Path(f"{checkpoint.name}-{precision}")
    check_target(target, force)
    if precision == "fp32":
        _import_fp32(checkpoint, graphs, target, force=force)
        return target
    with tempfile.TemporaryDirectory(prefix="edgekit-import-") as folder:
        whole = Path(folder) / checkpoint.name
        _import_fp32(checkpoint, graphs, whole, force=False)
        return quantize_bundle(whole, precision, target, force=force)


def import_through_optimum(
    checkpoint: Checkpoint, precision: str = "int8", output: Path | None = None, *, force: bool = False
) -> Path:
    """Exports a checkpoint of one of the kinds `TRACED` with optimum, and imports that.

    Arguments, result and errors are `import_checkpoint`'s.
    """
    check_target(output or Path(f"{checkpoint.name}-{precision}"), force)
    with tempfile.TemporaryDirectory(prefix="edgekit-optimum-") as folder:
        graphs = Path(folder)
        task = TASKS[TRACED.index(checkpoint.kind)]
        export_with_optimum(checkpoint.files["config"].parent, graphs, task)
        if "tokenizer" in checkpoint.files:  # transformers may not have read it, or have written another
            shutil.copyfile(checkpoint.files["tokenizer"], graphs / TOKENIZER_FILE)
        traced = read_onnx_directory(graphs, checkpoint.name, checkpoint)
        return import_checkpoint(traced, precision, output, force=force)


def _import_fp32(checkpoint: Checkpoint, graphs: OnnxFolder, target: Path, *, force: bool) -> None:
    with stage_bundle(target, force) as directory:
        if graphs.kind == "seq2seq":
            model, files, vocab_size = _write_seq2seq(directory, graphs, checkpoint)
        else:
            model, files, vocab_size = _write_text_model(directory, graphs, checkpoint.files)
        (directory / TOKENIZER_FILE).write_bytes(model.tokenizer_json.encode())
        if model.chat_template is not None:
            (directory / CHAT_TEMPLATE_FILE).write_bytes(model.chat_template.encode())
        for document in checkpoint.documents:
            shutil.copyfile(document, directory / document.name)
        is_text = isinstance(model.generation, TextGeneration)
        form = "sentencepiece" if is_text else "tokenizers"  # of a decoder-only model it says nothing
        manifest = Manifest(
            kind=graphs.kind,
            name=checkpoint.name,
            precision="fp32",
            architecture=_describe(directory, model, files, vocab_size),
            languages=Languages(**checkpoint.languages),
            task=_task(model, checkpoint),
            source=Source(**checkpoint.source),
            quantization=files.quantization,
            graphs=files.graphs,
            state=files.state,
            generation=model.generation,
            tokenizer=TokenizerFiles(TOKENIZER_FILE, TOKENIZER_FILE, vocab_size, vocab_size, form),
            shortlist=None,
            self_check=SelfCheck(_self_check_ids(directory, model, vocab_size), ()),
            measured=None,
            created_by={"edgekit": __version__},
            chat=None if model.chat_template is None else Chat(CHAT_TEMPLATE_FILE, model.special_tokens),
        )
        record = record_continuation if is_text else record_self_check
        write_manifest(directory, record(directory, manifest))


def _write_text_model(
    directory: Path, graphs: OnnxFolder, files: Mapping[str, Path]
) -> tuple[ImportedModel, GraphFiles, int]:
    """Writes and checks the graph and its weights."""
    weights = ForeignWeights()
    body = weights.add(graphs.load("model"))
    caches = foreign_causal_lm.read_caches(body)
    vocab_size = _width(body, "logits")
    model = read_imported_text_model(files, vocab_size)
    assert isinstance(model.generation, TextGeneration)
    context_length = model.generation.context_length
    stored = save_weights(directory, weights.arrays)
    graph = foreign_causal_lm.build_foreign_causal_lm(
        body, weights.arrays, stored, vocab_size=vocab_size, context_length=context_length
    )
    _save(directory, {MODEL_FILE: graph})
    check_imported_text_model(directory, graphs.files["model"], caches, vocab_size, context_length)
    state = tuple(cache.state(context_length) for cache in caches)
    return model, GraphFiles({"model": describe_graph(graph, MODEL_FILE)}, state, Quantization("fp32")), vocab_size


def _write_seq2seq(
    directory: Path, graphs: OnnxFolder, checkpoint: Checkpoint
) -> tuple[ImportedModel, GraphFiles, int]:
    """Writes and checks the graphs and their weights."""
    weights = ForeignWeights()
    decoder, first = (weights.add(graphs.load(role)) for role in ("decoder_with_past", "decoder"))
    encoder = weights.add(graphs.load("encoder"), "source_embedding.weight")
    caches, crosses = foreign_seq2seq.read_caches(decoder)
    vocab_size = _width(first, "logits")
    model = read_imported_seq2seq(checkpoint.files, vocab_size, is_translation=_is_translation(checkpoint))
    assert isinstance(model.generation, Generation)
    foreign = foreign_seq2seq.ForeignSeq2Seq(
        encoder=encoder,
        first_decoder=first,
        decoder=decoder,
        caches=caches,
        crosses=crosses,
        hidden_width=_width(encoder, "last_hidden_state"),
        vocab_size=vocab_size,
        max_length=model.generation.max_length + 2,
    )
    stored = save_weights(directory, weights.arrays)
    built = {
        ENCODER_FILE: foreign_seq2seq.build_encoder(foreign, weights.arrays, stored),
        DECODER_FILE: foreign_seq2seq.build_decoder(foreign, weights.arrays, stored),
        BEAM_DECODER_FILE: foreign_seq2seq.build_beam_decoder(foreign, weights.arrays, stored),
    }
    _save(directory, built)
    logits_decoder = directory / "logits.onnx"
    with contextlib.ExitStack() as stack:
        stack.callback(logits_decoder.unlink, missing_ok=True)
        ir.save(foreign_seq2seq.build_decoder(foreign, weights.arrays, stored, output_logits=True), logits_decoder)
        check_imported_seq2seq(directory, graphs.files, foreign.state, vocab_size, logits_decoder)
    described = {Path(file).stem: describe_graph(graph, file) for file, graph in built.items()}
    return model, GraphFiles(described, foreign.state, Quantization("fp32")), vocab_size


def _save(directory: Path, graphs: Mapping[str, ir.Model]) -> None:
    for name, graph in graphs.items():
        ir.save(graph, directory / name)
    # safetensors writes files that only their owner may read.
    shutil.copymode(directory / next(iter(graphs)), directory / WEIGHTS_FILE)


def _width(graph: ForeignGraph, output: str) -> int:
    """The last axis of an output."""
    value = graph.outputs.get(output)
    size = None if value is None or value.shape is None else value.shape[-1]
    if not isinstance(size, int) or size < 1:
        raise SourceError(f"the ONNX graph has no output {output} with a fixed last axis; export it with optimum again")
    return size


def _describe(directory: Path, model: ImportedModel, files: GraphFiles, vocab_size: int) -> dict[str, Any]:
    """The manifest's ``architecture``."""
    return {
        IMPORTED: True,
        "model_type": model.model_type,
        "decoder_layers": sum(state.name.startswith("key_") for state in files.state),
        "vocab_size": vocab_size,
        "parameters": sum(math.prod(array.shape) for array in load_weights(directory / WEIGHTS_FILE, {}).values()),
    }


def _task(model: ImportedModel, checkpoint: Checkpoint) -> str:
    if isinstance(model.generation, TextGeneration):
        return "text-generation"
    return "translation" if _is_translation(checkpoint) else "text2text"


def _is_translation(checkpoint: Checkpoint) -> bool:
    return all(checkpoint.languages.values())


def _self_check_ids(directory: Path, model: ImportedModel, vocab_size: int) -> tuple[int, ...]:
    """The ids that the self-check translates or goes on from."""
    try:
        ids = HubTokenizer.load(directory / TOKENIZER_FILE, vocab_size).encode(SELF_CHECK_TEXT)
    except BundleError as error:
        reason = str(error).removeprefix(f"{directory / TOKENIZER_FILE}: ").partition("; export")[0]
        raise SourceError(f"the model's tokenizer can't be used: {reason}") from None
    generation = model.generation
    if isinstance(generation, Generation):
        room = generation.max_source_tokens - len(generation.source_prefix) - 1
        return (*generation.source_prefix, *ids[:room], generation.eos_token_id)
    if generation.adds_bos and generation.bos_token_id is not None:
        ids = [generation.bos_token_id, *ids]
    return tuple(ids[: generation.context_length - SELF_CHECK_TOKENS])
