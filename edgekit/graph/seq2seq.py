"""The graphs of an encoder-decoder, written beside their weights, and what the manifest says of them.

In: a configuration and weights. Out: ``encoder.onnx``, ``decoder.onnx`` (greedy search), ``beam_decoder.onnx`` (beam
search) and ``weights.safetensors``, which they all point into, in a directory that the caller stages; and the
manifest's ``graphs``, ``state`` and ``quantization`` sections.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir

from edgekit.bundle.manifest import StateTensor
from edgekit.graph.beam_decoder import build_beam_decoder
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.decoder import build_decoder
from edgekit.graph.describe import GraphFiles, describe_graph, describe_quantization
from edgekit.graph.encoder import build_encoder
from edgekit.graph.weights_file import WEIGHTS_FILE, Weights, save_weights, stored_tensors
from edgekit.graph.weights_file import channel_axis as channel_axis

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
BEAM_DECODER_FILE = "beam_decoder.onnx"


def write_graphs(directory: Path, config: Seq2SeqConfig, weights: Weights, precision: str) -> GraphFiles:
    """Writes the graphs and the weights of a model into ``directory``."""
    stored = save_weights(directory, weights)
    encoder = build_encoder(config, weights, stored, precision)
    decoder = build_decoder(config, weights, stored, precision)
    beam_decoder = build_beam_decoder(config, weights, stored, precision)
    ir.save(encoder, directory / ENCODER_FILE)
    ir.save(decoder, directory / DECODER_FILE)
    ir.save(beam_decoder, directory / BEAM_DECODER_FILE)
    # safetensors writes files that only their owner may read.
    shutil.copymode(directory / DECODER_FILE, directory / WEIGHTS_FILE)
    graphs = {
        "encoder": describe_graph(encoder, ENCODER_FILE),
        "decoder": describe_graph(decoder, DECODER_FILE),
        "beam_decoder": describe_graph(beam_decoder, BEAM_DECODER_FILE),
    }
    return GraphFiles(graphs, state_tensors(config), describe_quantization(weights, precision, (encoder, decoder)))


def write_logits_decoder(path: Path, config: Seq2SeqConfig, weights: Weights, precision: str) -> None:
    """Writes a decoder that also returns its logits, beside weights already there; for comparison with a reference."""
    ir.save(build_decoder(config, weights, stored_tensors(path.parent), precision, output_logits=True), path)


def state_tensors(config: Seq2SeqConfig) -> tuple[StateTensor, ...]:
    """The decoder's state, in the order of its layers."""
    heads = config.decoder_attention_heads
    cross = ("batch", heads, "source_length", config.decoder_head_dim)
    state = []
    for layer in range(config.decoder_layers):
        state += [_constant(f"cross_{name}_{layer}", cross) for name in ("key", "value")]
        state += _cell_state(config, layer)
    if config.has_shortlist:
        state.append(_constant("output_weight", (config.d_model, "shortlist_length"), batch_axis=None))
        state.append(_constant("output_bias", ("batch", "shortlist_length")))
    return tuple(state)


def _constant(name: str, shape: tuple[int | str, ...], batch_axis: int | None = 0) -> StateTensor:
    return StateTensor(name, name, None, "float32", shape, "constant", batch_axis, None, None, "encoder")


def _cell_state(config: Seq2SeqConfig, layer: int) -> list[StateTensor]:
    if config.decoder_cell == "ssru":
        name, shape = f"state_{layer}", ("batch", config.d_model)
        past, present = f"past_{name}", f"present_{name}"
        return [StateTensor(name, past, present, "float32", shape, "recurrent", 0, None, None, "zeros")]
    heads = config.decoder_attention_heads
    cache = ("batch", heads, "capacity", config.decoder_head_dim)
    capacity = config.max_position_embeddings
    return [
        StateTensor(name, f"past_{name}", f"present_{name}", "float32", cache, "appended", 0, 2, capacity, "empty")
        for name in (f"key_{layer}", f"value_{layer}")
    ]
