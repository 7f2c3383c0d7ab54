"""The same network in plain numpy, from the same weights: what a graph's output is checked against.

Written from the equations, not from the graph: no fused operators, no cache, no batch. In int8 it repeats the graph's
integer arithmetic (see `reference_products`), so that the two differ by float rounding alone.

In: configuration, weights, ids of one sentence. Out: logits of every target position. Too slow to translate with.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.reference_functions import ACTIVATIONS, attend, causal_mask, layer_norm
from edgekit.graph.reference_products import ReferenceProducts
from edgekit.graph.weights_file import Weights

Array = np.ndarray


class Reference:
    """A forward pass over one sentence."""

    def __init__(self, config: Seq2SeqConfig, weights: Weights, precision: str) -> None:
        """Takes what the graph builder took; ``precision`` is "fp32" or "int8"."""
        self._config, products = config, ReferenceProducts(weights, precision)
        self._linear, self._floats, self._rows = products.linear, products.floats, products.rows

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
        # The rows of a shortlist change with every batch, so that product is made in float (see `decoder`).
        return self._linear(x, "output", config.output_weight, transposed=True, in_float=config.has_shortlist)

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
            self._rows(name, ids) * np.float32(self._config.embed_scale) + self._floats("positions.weight")[: len(ids)]
        )

    def _causal_attention(self, x: Array, layer: str) -> Array:
        block = f"{layer}.self_attention"
        query, key, value = np.split(self._linear(x, f"{block}.qkv"), 3, axis=1)
        attended = self._attend(query, key, value, self._config.decoder_attention_heads, causal_mask(len(x)))
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
        """Attention of ``[length, d_model]`` each."""
        q, k, v = (x.reshape(len(x), heads, -1) for x in (query, key, value))
        return attend(q, k, v, 1 / math.sqrt(q.shape[-1]), mask)

    def _add_norm(self, x: Array, residual: Array, block: str) -> Array:
        weight, bias = self._floats(f"{block}.norm.weight"), self._floats(f"{block}.norm.bias")
        return layer_norm(x + residual, weight, bias, self._config.layer_norm_epsilon)
