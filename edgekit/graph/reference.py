"""The same network in plain numpy, from the same weights: what a graph's output is checked against.

Written from the equations, not from the graph: no fused operators, no cache, no batch. In int8 it repeats the graph's
integer arithmetic (activations rounded half to even, sums in integers), so that the two differ by float rounding alone.

In: configuration, weights, ids of one sentence. Out: logits of every target position. Too slow to translate with.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import QuantizedTensor
from edgekit.graph.weights_file import Weights

Array = np.ndarray

_erf = np.vectorize(math.erf, otypes=[np.float32])
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))),  # https://arxiv.org/abs/1606.08415, exact form
    "swish": lambda x: x / (1 + np.exp(-x)),
}


class Reference:
    """A forward pass over one sentence."""

    def __init__(self, config: Seq2SeqConfig, weights: Weights, precision: str) -> None:
        """Takes what the graph builder took; ``precision`` is "fp32" or "int8"."""
        self._config, self._weights, self._precision = config, weights, precision

    def logits(self, source_ids: Array, decoder_ids: Array) -> Array:
        """Logits ``float32 [target_length, target_vocab_size]`` of ``decoder_ids`` int64 (the start token first)."""
        memory = self._encode(source_ids)
        config = self._config
        x = self._embed(config.target_embedding, decoder_ids)
        cell = self._ssru if config.decoder_cell == "ssru" else self._causal_attention
        for layer in range(config.decoder_layers):
            block = f"decoder.layers.{layer}"
            x = cell(x, block)
            query = self._linear(x, f"{block}.cross_attention.query")
            key, value = np.split(self._linear(memory, f"{block}.cross_attention.key_value"), 2, axis=1)
            attended = self._attend(query, key, value, config.decoder_attention_heads)
            x = self._add_norm(self._linear(attended, f"{block}.cross_attention.output"), x, f"{block}.cross_attention")
            x = self._feed_forward(x, block)
        return self._linear(x, "output", config.output_weight, transposed=True)

    def _encode(self, ids: Array) -> Array:
        x = self._embed("source_embedding.weight", ids)
        for layer in range(self._config.encoder_layers):
            block = f"encoder.layers.{layer}"
            query, key, value = np.split(self._linear(x, f"{block}.self_attention.qkv"), 3, axis=1)
            attended = self._attend(query, key, value, self._config.encoder_attention_heads)
            x = self._add_norm(self._linear(attended, f"{block}.self_attention.output"), x, f"{block}.self_attention")
            x = self._feed_forward(x, block)
        return x

    def _embed(self, name: str, ids: Array) -> Array:
        return (
            self._float(name)[ids] * np.float32(self._config.embed_scale) + self._float("positions.weight")[: len(ids)]
        )

    def _causal_attention(self, x: Array, layer: str) -> Array:
        block = f"{layer}.self_attention"
        query, key, value = np.split(self._linear(x, f"{block}.qkv"), 3, axis=1)
        mask = np.triu(np.full((len(x), len(x)), -np.inf, np.float32), 1)
        attended = self._attend(query, key, value, self._config.decoder_attention_heads, mask)
        return self._add_norm(self._linear(attended, f"{block}.output"), x, block)

    def _ssru(self, x: Array, layer: str) -> Array:
        candidate, gate = np.split(self._linear(x, f"{layer}.ssru.candidate_gate"), 2, axis=1)
        keep = 1 / (1 + np.exp(-gate))
        state, states = np.zeros_like(candidate[0]), []
        for u, g in zip(candidate, keep, strict=True):
            state = g * state + (1 - g) * u
            states.append(state)
        return self._add_norm(np.maximum(np.stack(states), 0), x, f"{layer}.ssru")

    def _feed_forward(self, x: Array, layer: str) -> Array:
        hidden = ACTIVATIONS[self._config.activation_function](self._linear(x, f"{layer}.feed_forward.up"))
        return self._add_norm(self._linear(hidden, f"{layer}.feed_forward.down"), x, f"{layer}.feed_forward")

    def _attend(self, query: Array, key: Array, value: Array, heads: int, mask: Array | float = 0.0) -> Array:
        """Scaled dot-product attention (https://arxiv.org/abs/1706.03762, 3.2) of ``[length, d_model]`` each."""
        q, k, v = (x.reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (query, key, value))
        scores = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(q.shape[-1])) + mask
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = scores / scores.sum(axis=-1, keepdims=True) @ v
        return attended.transpose(1, 0, 2).reshape(len(query), -1).astype(np.float32)

    def _add_norm(self, x: Array, residual: Array, block: str) -> Array:
        x = x + residual
        centred = x - x.mean(axis=1, keepdims=True)
        normal = centred / np.sqrt(
            (centred**2).mean(axis=1, keepdims=True) + np.float32(self._config.layer_norm_epsilon)
        )
        return (normal * self._float(f"{block}.norm.weight") + self._float(f"{block}.norm.bias")).astype(np.float32)

    def _linear(self, x: Array, layer: str, name: str | None = None, *, transposed: bool = False) -> Array:
        name = name or f"{layer}.weight"
        weight = self._weights[name]
        bias = self._float(f"{layer}.bias") if f"{layer}.bias" in self._weights else np.float32(0)
        # The rows of a shortlist change with every batch, so that product is made in float (see `decoder`).
        in_float = self._precision == "fp32" or (layer == "output" and self._config.has_shortlist)
        if isinstance(weight, QuantizedTensor) and not in_float:
            scale = self._activation_scale(x, layer)
            quantized = np.clip(np.rint(x / np.where(scale > 0, scale, 1)), -128, 127)
            matrix = weight.values.T if transposed else weight.values
            # float64 holds these integer sums exactly: at most 2^14 a term and 2^12 terms.
            return ((quantized @ matrix.astype(np.float64)) * scale * weight.scale + bias).astype(np.float32)
        matrix = self._float(name)
        return (x @ (matrix.T if transposed else matrix) + bias).astype(np.float32)

    def _activation_scale(self, x: Array, layer: str) -> Array:
        """The step of quantised activations: the calibrated one, else ``[rows, 1]``, max|row| / 127."""
        if f"{layer}.activation_scale" in self._weights:
            return self._float(f"{layer}.activation_scale")
        return np.abs(x).max(axis=1, keepdims=True) * np.float32(1 / 127)

    def _float(self, name: str) -> Array:
        tensor = self._weights[name]
        return tensor if isinstance(tensor, np.ndarray) else tensor.dequantize()
