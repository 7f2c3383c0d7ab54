"""A decoder-only model in plain numpy, from the same weights: what its graph's output is checked against.

Written from the equations, not from the graph: no fused operators, no cache, no batch. In int8 and int4 it repeats the
graph's integer arithmetic (see `reference_products`), so that the two differ by float rounding alone.

In: configuration, weights, ids of one text. Out: logits after every token. Too slow to generate with.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.reference_functions import ACTIVATIONS, attend, causal_mask, layer_norm, rms_norm, rotate
from edgekit.graph.reference_products import ReferenceProducts
from edgekit.graph.rotary import rotary_tables
from edgekit.graph.weights_file import Weights

Array = np.ndarray


class CausalLMReference:
    """A forward pass over one text."""

    def __init__(self, config: CausalLMConfig, weights: Weights, precision: str) -> None:
        """Takes what the graph builder took; ``precision`` is "fp32" (all weights as floats), "int8" or "int4"."""
        self._config, products = config, ReferenceProducts(weights, precision)
        self._linear, self._floats, self._rows = products.linear, products.floats, products.rows
        self._tables = rotary_tables(config)

    def logits(self, ids: Array) -> Array:
        """Logits ``float32 [length, vocab_size]`` after each of ``ids`` int64 ``[length]``."""
        config = self._config
        x = self._rows("embedding.weight", ids) * np.float32(config.embed_scale)
        if config.position == "learned":
            x = x + self._floats("positions.weight")[: len(ids)]
        for layer in range(config.layers):
            for block, calculate in (("attention", self._attention), ("feed_forward", self._feed_forward)):
                name = f"layers.{layer}.{block}"
                change = calculate(self._norm(x, f"{name}.norm"), name, layer)
                x = x + (self._norm(change, f"{name}.post_norm") if config.post_norms else change)
        return self._linear(self._norm(x, "final_norm"), "output", config.output_weight, transposed=True)

    def _attention(self, x: Array, block: str, layer: int) -> Array:
        config = self._config
        widths = np.cumsum([config.query_width, config.key_value_width])
        parts = np.split(self._linear(x, f"{block}.qkv"), widths, axis=1)
        query, key, value = (part.reshape(len(x), -1, config.head_dim) for part in parts)
        if config.query_key_norm:
            query, key = (
                rms_norm(heads, self._floats(f"{block}.{name}_norm.weight"), config.norm_epsilon)
                for name, heads in (("query", query), ("key", key))
            )
        is_local = layer in config.local_layers
        if config.position == "rotary":
            prefix = "rotary.local_" if is_local and config.local_rope_theta is not None else "rotary."
            cos, sin = (self._tables[prefix + name][: len(x)] for name in ("cos", "sin"))
            query, key = (rotate(heads, cos, sin, interleaved=config.rotary_interleaved) for heads in (query, key))
        scale = 1 / math.sqrt(config.head_dim) if config.attention_scale is None else config.attention_scale
        mask = causal_mask(len(x), config.local_window if is_local else None)
        return self._linear(attend(query, key, value, scale, mask), f"{block}.output")

    def _feed_forward(self, x: Array, block: str, layer: int) -> Array:
        activation = ACTIVATIONS[self._config.activation_function]
        if self._config.gated_ffn:
            gate, up = np.split(self._linear(x, f"{block}.gate_up"), 2, axis=1)
            return self._linear(activation(gate) * up, f"{block}.down")
        return self._linear(activation(self._linear(x, f"{block}.up")), f"{block}.down")

    def _norm(self, x: Array, name: str) -> Array:
        weight, epsilon = self._floats(f"{name}.weight"), self._config.norm_epsilon
        if self._config.norm == "rms":
            return rms_norm(x, weight, epsilon)
        return layer_norm(x, weight, self._floats(f"{name}.bias"), epsilon)
