"""The language model: Llama's network, pre-norm, SwiGLU, rotary positions, one embedding for input and output.

In: padded ids of sources and targets, which it reads as ``source <sep> target </s>``. Out: hidden states of the
target's part. Layout and formulas: transformers/models/llama/modeling_llama.py (4.57).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from models.training.layers import attend, causal_mask, rms_norm, split_heads
from models.training.networks import MOST_POSITIONS, Batch, Ids, Network, Sizes, linear_specs, norm_specs
from models.training.weights import EMBEDDING, Spec

ROPE_BASE = 10000.0
RMS_EPSILON = 1e-6


def _layer_specs(name: str, sizes: Sizes) -> dict[str, Spec]:
    d, gain = sizes.width, 1 / math.sqrt(2 * sizes.decoder_layers)
    return (
        linear_specs(f"{name}.qkv", 3 * d, d, 3, bias=False)
        | linear_specs(f"{name}.out", d, d, gain=gain, bias=False)
        | linear_specs(f"{name}.gate_up", 2 * sizes.inner, d, 2, bias=False)
        | linear_specs(f"{name}.down", d, sizes.inner, gain=gain, bias=False)
        | norm_specs(f"{name}.attention_norm", d, bias=False)
        | norm_specs(f"{name}.inner_norm", d, bias=False)
    )


class DecoderOnly(Network):
    """A decoder; ``<sep>`` takes the place of the source's ``</s>``."""

    def __init__(self, sizes: Sizes, ids: Ids, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        """Starts the weights."""
        specs = {EMBEDDING: Spec((sizes.vocabulary, sizes.width), 0.02), **norm_specs("norm", sizes.width, bias=False)}
        for layer in range(sizes.decoder_layers):
            specs |= _layer_specs(f"decoder.{layer}", sizes)
        super().__init__(sizes, ids, specs, dtype, device, seed)
        size = sizes.width // sizes.heads
        angles = torch.arange(2 * MOST_POSITIONS)[:, None] / ROPE_BASE ** (torch.arange(0, size, 2) / size)
        self._cosines = torch.cat([angles.cos()] * 2, 1).to(device, dtype)
        self._sines = torch.cat([-angles.sin(), angles.sin()], 1).to(device, dtype)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights.leaves[f"{name}.weight"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return rms_norm(x, self.weights.leaves[f"{name}.weight"], RMS_EPSILON)

    def _rotate(self, x: Tensor) -> Tensor:
        length, half = x.shape[2], x.shape[3] // 2
        turned = torch.cat([x[..., half:], x[..., :half]], -1)
        return x * self._cosines[:length] + turned * self._sines[:length]

    def _hidden(self, ids: Tensor) -> Tensor:
        """Final hidden states ``[pairs, length, width]``, normalised."""
        x = self.dropout(self.embed(ids))
        causal = causal_mask(ids.shape[1], x)
        for name in (f"decoder.{i}" for i in range(self.sizes.decoder_layers)):
            qkv = self._linear(f"{name}.qkv", self._norm(f"{name}.attention_norm", x)).chunk(3, -1)
            q, k, v = (split_heads(y, self.sizes.heads) for y in qkv)
            attended = attend(self._rotate(q), self._rotate(k), v, causal)
            x = x + self.dropout(self._linear(f"{name}.out", attended))
            gate, up = self._linear(f"{name}.gate_up", self._norm(f"{name}.inner_norm", x)).chunk(2, -1)
            x = x + self.dropout(self._linear(f"{name}.down", silu(gate) * up))
        return self._norm("norm", x)

    def join(self, batch: Batch) -> Tensor:
        """Source, ``<sep>``, target, padding: int64 [pairs, longest]."""
        total = batch.source_lengths + batch.target_lengths
        ids = batch.source.new_full((len(total), int(total.max())), self.ids.pad)
        ids[:, : batch.source.shape[1]] = batch.source
        rows = torch.arange(len(total), device=ids.device)[:, None]
        columns = torch.arange(batch.target.shape[1], device=ids.device)
        real = columns < batch.target_lengths[:, None]
        ids[rows.expand_as(real)[real], (batch.source_lengths[:, None] + columns)[real]] = batch.target[real]
        ids[rows[:, 0], batch.source_lengths - 1] = self.ids.separator
        return ids

    def predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Network`."""
        ids = self.join(batch)
        places = torch.arange(ids.shape[1] - 1, device=ids.device)
        first = batch.source_lengths[:, None] - 1
        real = (places >= first) & (places < first + batch.target_lengths[:, None])
        return self._hidden(ids[:, :-1])[real], ids[:, 1:][real]

    def last_hidden(self, batch: Batch) -> Tensor:
        """See `Network`."""
        last = batch.source_lengths + batch.target_lengths - 1
        return self._hidden(self.join(batch))[torch.arange(len(last), device=last.device), last]
