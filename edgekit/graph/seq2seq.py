"""Both graphs of an encoder-decoder, written beside their weights, and what the manifest says of them.

In: a configuration and weights. Out: ``encoder.onnx``, ``decoder.onnx`` and ``weights.safetensors`` in a directory that
the caller stages, and the manifest's ``graphs``, ``state`` and ``quantization`` sections.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgekit.bundle.manifest import Graph, Port, Quantization, StateTensor, TensorQuantization
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.decoder import build_decoder
from edgekit.graph.encoder import build_encoder
from edgekit.graph.tensors import QuantizedTensor
from edgekit.graph.weights_file import SCALE_SUFFIX, WEIGHTS_FILE, Weights, save_weights, stored_tensors

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
# Tables are [vocabulary, d_model], one scale a row; all other matrices are [in, out], one scale a column.
TABLES = ("source_embedding.weight", "target_embedding.weight", "output.weight")


@dataclass(frozen=True)
class GraphFiles:
    """What `write_graphs` wrote, in the manifest's terms."""

    graphs: dict[str, Graph]
    state: tuple[StateTensor, ...]
    quantization: Quantization


def write_graphs(directory: Path, config: Seq2SeqConfig, weights: Weights, precision: str) -> GraphFiles:
    """Writes the graphs and the weights of a model into ``directory``."""
    stored = save_weights(directory, weights)
    encoder = build_encoder(config, weights, stored, precision)
    decoder = build_decoder(config, weights, stored, precision)
    ir.save(encoder, directory / ENCODER_FILE)
    ir.save(decoder, directory / DECODER_FILE)
    # safetensors writes files that only their owner may read.
    shutil.copymode(directory / DECODER_FILE, directory / WEIGHTS_FILE)
    graphs = {"encoder": _describe(encoder, ENCODER_FILE), "decoder": _describe(decoder, DECODER_FILE)}
    return GraphFiles(graphs, state_tensors(config), describe_quantization(weights, precision))


def write_logits_decoder(path: Path, config: Seq2SeqConfig, weights: Weights, precision: str) -> None:
    """Writes a decoder that also returns its logits, beside weights already there; for comparison with a reference."""
    ir.save(build_decoder(config, weights, stored_tensors(path.parent), precision, output_logits=True), path)


def channel_axis(name: str) -> int:
    """The axis that a per-channel scale of the weight ``name`` runs along: its output channels."""
    return 0 if name in TABLES else 1


def state_tensors(config: Seq2SeqConfig) -> tuple[StateTensor, ...]:
    """The decoder's state, in the order of its layers."""
    heads = config.decoder_attention_heads
    cross = ("batch", heads, "source_length", config.d_model // heads)
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
    cache = ("batch", heads, "capacity", config.d_model // heads)
    capacity = config.max_position_embeddings
    return [
        StateTensor(name, f"past_{name}", f"present_{name}", "float32", cache, "appended", 0, 2, capacity, "empty")
        for name in (f"key_{layer}", f"value_{layer}")
    ]


def describe_quantization(weights: Weights, precision: str) -> Quantization:
    """The manifest's ``quantization``: the scheme, how activations are quantised, every int8 tensor."""
    tensors = {
        name: TensorQuantization("int8", name + SCALE_SUFFIX, "per-tensor" if tensor.axis is None else "per-channel")
        for name, tensor in weights.items()
        if isinstance(tensor, QuantizedTensor)
    }
    calibrated = any(name.endswith(".activation_scale") for name in weights)
    activations = {"fp32": None, "int8": "static" if calibrated else "dynamic per row"}[precision]
    return Quantization(precision, activations, tensors)


def _describe(model: ir.Model, file: str) -> Graph:
    return Graph(file, tuple(map(_port, model.graph.inputs)), tuple(map(_port, model.graph.outputs)))


def _port(value: ir.Value) -> Port:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Port(value.name, str(value.dtype.numpy()), shape)
