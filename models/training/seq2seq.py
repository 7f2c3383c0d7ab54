"""The encoder-decoder: MarianMT's network, post-norm, ReLU, sinusoidal positions, one embedding for all three uses.

In: padded ids. Out: hidden states. Layout and formulas: transformers/models/marian/modeling_marian.py (4.57).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from models.training.layers import attend, causal_mask, padding_mask, split_heads
from models.training.networks import MOST_POSITIONS, Batch, Ids, Network, Sizes, linear_specs, norm_specs
from models.training.weights import EMBEDDING, Spec

# Of what a block adds to the residual sum, against Xavier's: post-norm layers start near the identity (DeepNet, 2022).
RESIDUAL_GAIN = 0.4


def sinusoids(positions: int, width: int) -> Tensor:
    """MarianMT's table: sines, then cosines, of ``p / 10000^(2i / width)``."""
    angles = torch.arange(positions)[:, None] / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def _layer_specs(name: str, sizes: Sizes, cross: bool) -> dict[str, Spec]:
    d = sizes.width
    specs = linear_specs(f"{name}.qkv", 3 * d, d, 3) | linear_specs(f"{name}.out", d, d, gain=RESIDUAL_GAIN)
    specs |= norm_specs(f"{name}.attention_norm", d) | norm_specs(f"{name}.inner_norm", d)
    if cross:
        specs |= linear_specs(f"{name}.cross_query", d, d) | linear_specs(f"{name}.cross_kv", 2 * d, d, 2)
        specs |= linear_specs(f"{name}.cross_out", d, d, gain=RESIDUAL_GAIN) | norm_specs(f"{name}.cross_norm", d)
    specs |= linear_specs(f"{name}.up", sizes.inner, d)
    return specs | linear_specs(f"{name}.down", d, sizes.inner, gain=RESIDUAL_GAIN)


class Seq2Seq(Network):
    """Encoder and decoder; ``<pad>`` starts a target."""

    def __init__(self, sizes: Sizes, ids: Ids, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        """Starts the weights."""
        specs = {EMBEDDING: Spec((sizes.vocabulary, sizes.width), sizes.width**-0.5)}
        for side, layers in (("encoder", sizes.encoder_layers), ("decoder", sizes.decoder_layers)):
            for layer in range(layers):
                specs |= _layer_specs(f"{side}.{layer}", sizes, side == "decoder")
        super().__init__(sizes, ids, specs, dtype, device, seed)
        self._positions = sinusoids(MOST_POSITIONS, sizes.width).to(device, dtype)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights.leaves[f"{name}.weight"], self.weights.leaves[f"{name}.bias"])

    def _add_norm(self, name: str, x: Tensor, change: Tensor) -> Tensor:
        leaves = self.weights.leaves
        return layer_norm(x + self.dropout(change), x.shape[-1:], leaves[f"{name}.weight"], leaves[f"{name}.bias"])

    def _embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.embed(ids) * math.sqrt(self.sizes.width) + self._positions[: ids.shape[1]])

    def _self_attention(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (split_heads(y, self.sizes.heads) for y in self._linear(f"{name}.qkv", x).chunk(3, -1))
        return self._add_norm(f"{name}.attention_norm", x, self._linear(f"{name}.out", attend(q, k, v, mask)))

    def _cross_attention(self, name: str, y: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        query = split_heads(self._linear(f"{name}.cross_query", y), self.sizes.heads)
        both = self._linear(f"{name}.cross_kv", source).chunk(2, -1)
        key, value = (split_heads(x, self.sizes.heads) for x in both)
        change = self._linear(f"{name}.cross_out", attend(query, key, value, mask))
        return self._add_norm(f"{name}.cross_norm", y, change)

    def _inner(self, name: str, x: Tensor) -> Tensor:
        change = self._linear(f"{name}.down", self._linear(f"{name}.up", x).relu())
        return self._add_norm(f"{name}.inner_norm", x, change)

    def _decode(self, batch: Batch, inputs: Tensor) -> Tensor:
        """Hidden states ``[pairs, inputs, width]``."""
        x = self._embed(batch.source)
        mask = padding_mask(batch.source_lengths, batch.source.shape[1], x)
        for name in (f"encoder.{i}" for i in range(self.sizes.encoder_layers)):
            x = self._inner(name, self._self_attention(name, x, mask))
        y = self._embed(inputs)
        causal = causal_mask(inputs.shape[1], y)
        for name in (f"decoder.{i}" for i in range(self.sizes.decoder_layers)):
            y = self._self_attention(name, y, causal)
            y = self._inner(name, self._cross_attention(name, y, x, mask))
        return y

    def _started(self, target: Tensor) -> Tensor:
        return torch.cat([target.new_full((len(target), 1), self.ids.pad), target], 1)

    def predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Network`."""
        hidden = self._decode(batch, self._started(batch.target[:, :-1]))
        real = torch.arange(batch.target.shape[1], device=hidden.device) < batch.target_lengths[:, None]
        return hidden[real], batch.target[real]

    def last_hidden(self, batch: Batch) -> Tensor:
        """See `Network`."""
        return self._decode(batch, self._started(batch.target))[:, -1]
