"""The two networks: an encoder-decoder as MarianMT computes it, and a decoder as Llama does.

In: padded ids of sources and targets. Out: the training loss, or the hidden states that predict the next target piece.
`models.training.publish` writes their weights as transformers models; the tests hold both to transformers' own results.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from models.training.layers import (
    Dropout,
    Embed,
    RmsNorm,
    SmoothedCrossEntropy,
    attend,
    causal_mask,
    cross_entropy,
    padding_mask,
    split_heads,
)
from models.training.weights import EMBEDDING, Spec, Weights

SEQ2SEQ, DECODER_ONLY = "marian-en-de", "lm-en-de"
ROPE_BASE = 10000.0
RMS_EPSILON = 1e-6
DROPOUT = 0.1
MOST_POSITIONS = 256
# Of what a block adds to the residual sum, against Xavier's: post-norm layers start near the identity (DeepNet, 2022).
RESIDUAL_GAIN = 0.4


@dataclass(frozen=True)
class Sizes:
    """Of a network; `encoder_layers` is 0 for the decoder-only one."""

    vocabulary: int = 8000
    width: int = 256
    inner: int = 1024
    heads: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 2

    def as_dict(self) -> dict[str, int]:
        """For checkpoints."""
        return asdict(self)


DEFAULT_SIZES = {SEQ2SEQ: Sizes(), DECODER_ONLY: Sizes(inner=768, encoder_layers=0, decoder_layers=8)}


@dataclass(frozen=True)
class Batch:
    """Pairs, padded.

    Attributes:
        source: int64 [pairs, longest source], each ending in ``</s>``, then ``<pad>``.
        target: int64 [pairs, longest target], likewise.
        source_lengths, target_lengths: int64 [pairs], with ``</s>``.
    """

    source: Tensor
    target: Tensor
    source_lengths: Tensor
    target_lengths: Tensor


class Network(Protocol):
    """What training and search need."""

    weights: Weights
    dropout: Dropout

    def loss(self, batch: Batch) -> Tensor:
        """Plain loss in nats a target piece, with the gradients of the label-smoothed one."""

    def nats(self, batch: Batch) -> Tensor:
        """Summed plain cross entropy of the targets, without gradients."""

    def next_piece(self, batch: Batch) -> Tensor:
        """Logits ``[pairs, vocabulary]`` of what follows each whole target; ``target`` has no ``</s>`` here."""


def _xavier(out: int, width: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(2.0 / (out + width))


def _linear(name: str, out: int, width: int, parts: int = 1, gain: float = 1.0, bias: bool = True) -> dict[str, Spec]:
    specs = {f"{name}.weight": Spec((out, width), _xavier(out // parts, width, gain), parts)}
    return specs | ({f"{name}.bias": Spec((out,), 0.0)} if bias else {})


def _norm(name: str, width: int) -> dict[str, Spec]:
    return {f"{name}.weight": Spec((width,), 1.0), f"{name}.bias": Spec((width,), 0.0)}


def sinusoids(positions: int, width: int) -> Tensor:
    """MarianMT's table: sines, then cosines, of ``p / 10000^(2i / width)``."""
    angles = torch.arange(positions)[:, None] / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.cat([angles.sin(), angles.cos()], 1).float()


class Seq2Seq:
    """MarianMT: post-norm, ReLU, sinusoidal positions, one embedding for source, target and output."""

    def __init__(self, sizes: Sizes, pad: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        d, specs = sizes.width, {EMBEDDING: Spec((sizes.vocabulary, sizes.width), sizes.width**-0.5)}
        for side, layers in (("encoder", sizes.encoder_layers), ("decoder", sizes.decoder_layers)):
            for name in (f"{side}.{i}" for i in range(layers)):
                specs |= _linear(f"{name}.qkv", 3 * d, d, 3) | _linear(f"{name}.out", d, d, gain=RESIDUAL_GAIN)
                specs |= _norm(f"{name}.attention_norm", d) | _norm(f"{name}.inner_norm", d)
                if side == "decoder":
                    specs |= _linear(f"{name}.cross_query", d, d) | _linear(f"{name}.cross_kv", 2 * d, d, 2)
                    specs |= _linear(f"{name}.cross_out", d, d, gain=RESIDUAL_GAIN) | _norm(f"{name}.cross_norm", d)
                specs |= _linear(f"{name}.up", sizes.inner, d) | _linear(f"{name}.down", d, sizes.inner, gain=RESIDUAL_GAIN)
        self.sizes, self.pad = sizes, pad
        self.weights = Weights(specs, dtype, device, seed)
        self.dropout = Dropout(DROPOUT, dtype, device, seed)
        self._positions = sinusoids(MOST_POSITIONS, d).to(device, dtype)
        self._anchor = torch.zeros((), device=device, requires_grad=True)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights.leaves[f"{name}.weight"], self.weights.leaves[f"{name}.bias"])

    def _add_norm(self, name: str, x: Tensor, change: Tensor) -> Tensor:
        leaves = self.weights.leaves
        return layer_norm(x + self.dropout(change), x.shape[-1:], leaves[f"{name}.weight"], leaves[f"{name}.bias"])

    def _embed(self, ids: Tensor) -> Tensor:
        weights = self.weights
        x = Embed.apply(self._anchor, weights.leaves[EMBEDDING], ids, weights.embedding_gradient)
        return self.dropout(x * math.sqrt(self.sizes.width) + self._positions[: ids.shape[1]])

    def _self_attention(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (split_heads(y, self.sizes.heads) for y in self._linear(f"{name}.qkv", x).chunk(3, -1))
        return self._add_norm(f"{name}.attention_norm", x, self._linear(f"{name}.out", attend(q, k, v, mask)))

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
            query = split_heads(self._linear(f"{name}.cross_query", y), self.sizes.heads)
            key, value = (split_heads(z, self.sizes.heads) for z in self._linear(f"{name}.cross_kv", x).chunk(2, -1))
            change = self._linear(f"{name}.cross_out", attend(query, key, value, mask))
            y = self._inner(name, self._add_norm(f"{name}.cross_norm", y, change))
        return y

    def _predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The hidden state before every real target piece, and the pieces."""
        start = torch.full_like(batch.target[:, :1], self.pad)
        hidden = self._decode(batch, torch.cat([start, batch.target[:, :-1]], 1))
        real = torch.arange(batch.target.shape[1], device=hidden.device) < batch.target_lengths[:, None]
        return hidden[real], batch.target[real]

    def loss(self, batch: Batch) -> Tensor:
        """See `Network`."""
        hidden, labels = self._predictions(batch)
        weights = self.weights
        loss: Tensor = SmoothedCrossEntropy.apply(
            hidden, weights.leaves[EMBEDDING], labels, weights.embedding_gradient
        )
        return loss

    @torch.no_grad()
    def nats(self, batch: Batch) -> Tensor:
        """See `Network`."""
        hidden, labels = self._predictions(batch)
        return cross_entropy(hidden, self.weights.leaves[EMBEDDING], labels)

    @torch.no_grad()
    def next_piece(self, batch: Batch) -> Tensor:
        """See `Network`."""
        start = torch.full_like(batch.source[:, :1], self.pad)
        hidden = self._decode(batch, torch.cat([start, batch.target], 1))
        return hidden[:, -1] @ self.weights.leaves[EMBEDDING].T


class DecoderOnly:
    """Llama: pre-norm, SwiGLU, rotary positions, one embedding for input and output; reads ``source <sep> target``."""

    def __init__(
        self, sizes: Sizes, pad: int, dtype: torch.dtype, device: torch.device, seed: int = 0, separator: int = 0
    ) -> None:
        d, specs = sizes.width, {EMBEDDING: Spec((sizes.vocabulary, sizes.width), 0.02), "norm.weight": Spec((sizes.width,), 1.0)}
        gain = 1 / math.sqrt(2 * sizes.decoder_layers)
        for name in (f"decoder.{i}" for i in range(sizes.decoder_layers)):
            specs |= _linear(f"{name}.qkv", 3 * d, d, 3, bias=False) | _linear(f"{name}.out", d, d, gain=gain, bias=False)
            specs |= _linear(f"{name}.gate_up", 2 * sizes.inner, d, 2, bias=False)
            specs |= _linear(f"{name}.down", d, sizes.inner, gain=gain, bias=False)
            specs |= {f"{name}.{norm}.weight": Spec((d,), 1.0) for norm in ("attention_norm", "inner_norm")}
        self.sizes, self.pad, self.separator = sizes, pad, separator
        self.weights = Weights(specs, dtype, device, seed)
        self.dropout = Dropout(DROPOUT, dtype, device, seed)
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        size = d // sizes.heads
        angles = torch.arange(2 * MOST_POSITIONS)[:, None] / ROPE_BASE ** (torch.arange(0, size, 2) / size)
        self._cosines = torch.cat([angles.cos()] * 2, 1).to(device, dtype)
        self._sines = torch.cat([-angles.sin(), angles.sin()], 1).to(device, dtype)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights.leaves[f"{name}.weight"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        normed: Tensor = RmsNorm.apply(x, self.weights.leaves[f"{name}.weight"], RMS_EPSILON)
        return normed

    def _rotate(self, x: Tensor) -> Tensor:
        length, half = x.shape[2], x.shape[3] // 2
        turned = torch.cat([x[..., half:], x[..., :half]], -1)
        return x * self._cosines[:length] + turned * self._sines[:length]

    def _hidden(self, ids: Tensor) -> Tensor:
        """Final hidden states ``[pairs, length, width]``, normalised."""
        weights = self.weights
        x = self.dropout(Embed.apply(self._anchor, weights.leaves[EMBEDDING], ids, weights.embedding_gradient))
        causal = causal_mask(ids.shape[1], x)
        for name in (f"decoder.{i}" for i in range(self.sizes.decoder_layers)):
            qkv = self._linear(f"{name}.qkv", self._norm(f"{name}.attention_norm", x)).chunk(3, -1)
            q, k, v = (split_heads(y, self.sizes.heads) for y in qkv)
            attended = attend(self._rotate(q), self._rotate(k), v, causal)
            x = x + self.dropout(self._linear(f"{name}.out", attended))
            gate, up = self._linear(f"{name}.gate_up", self._norm(f"{name}.inner_norm", x)).chunk(2, -1)
            x = x + self.dropout(self._linear(f"{name}.down", silu(gate) * up))
        return self._norm("norm", x)

    def _join(self, batch: Batch) -> Tensor:
        """Source, ``<sep>`` in place of its ``</s>``, target, padding: ``[pairs, longest]``."""
        total = batch.source_lengths + batch.target_lengths
        ids = batch.source.new_full((len(total), int(total.max())), self.pad)
        ids[:, : batch.source.shape[1]] = batch.source
        rows = torch.arange(len(total), device=ids.device)[:, None]
        columns = torch.arange(batch.target.shape[1], device=ids.device)
        real = columns < batch.target_lengths[:, None]
        ids[rows.expand_as(real)[real], (batch.source_lengths[:, None] + columns)[real]] = batch.target[real]
        ids[rows[:, 0], batch.source_lengths - 1] = self.separator
        return ids

    def _predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids = self._join(batch)
        places = torch.arange(ids.shape[1] - 1, device=ids.device)
        first, last = batch.source_lengths[:, None] - 1, (batch.source_lengths + batch.target_lengths)[:, None] - 1
        real = (places >= first) & (places < last)
        return self._hidden(ids[:, :-1])[real], ids[:, 1:][real]

    loss: Any = Seq2Seq.loss
    nats: Any = Seq2Seq.nats

    @torch.no_grad()
    def next_piece(self, batch: Batch) -> Tensor:
        """See `Network`."""
        hidden = self._hidden(self._join(batch))
        last = batch.source_lengths + batch.target_lengths - 1
        return hidden[torch.arange(len(last), device=last.device), last] @ self.weights.leaves[EMBEDDING].T
