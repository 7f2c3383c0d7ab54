"""Operations that the two networks share, written for the processor: few passes over memory, bf16 products.

Differentiable functions over explicit weights. Small attention is written as products: torch's fused attention is many
times slower for sentences this short. Embedding and output share one matrix, whose gradient is summed in float32.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LABEL_SMOOTHING = 0.1
_POOL = 1 << 23
_ROWS = 256  # of logits at a time: they stay in the cache


class Dropout:
    """Dropout whose masks are slices of one random pool, at random offsets: one multiplication and no generator.

    Attributes:
        probability: 0 outside training.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        self._generator, self._seed = torch.Generator(), seed
        self._pool = torch.empty(0, dtype=dtype, device=device)
        self._pooled = 0.0
        self._offsets = random.Random(seed)
        self.probability = 0.0

    def _fill(self, size: int) -> None:
        kept = torch.rand(max(_POOL, 2 * size), generator=self._generator.manual_seed(self._seed)) >= self.probability
        self._pool = (kept.float() / (1 - self.probability)).to(self._pool)
        self._pooled = self.probability

    def seed(self, seed: int) -> None:
        """Fixes the masks of the next step, whatever came before."""
        self._offsets.seed(seed)

    def __call__(self, x: Tensor) -> Tensor:
        """`x` with elements dropped, the others scaled up."""
        if not self.probability:
            return x
        size = x.numel()
        if size >= len(self._pool) or self._pooled != self.probability:
            self._fill(size)
        start = self._offsets.randrange(len(self._pool) - size)
        return x * self._pool[start : start + size].view_as(x)


class Embed(torch.autograd.Function):
    """Rows of the embedding; the gradient is added to a float32 sum instead of being returned."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, weight: Tensor, ids: Tensor, total: Tensor) -> Tensor:
        """``[batch, length, width]``; `anchor` is any tensor that requires a gradient, and gets none."""
        ctx.ids, ctx.total = ids, total
        return weight[ids]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """Adds to the sum."""
        ctx.total.index_add_(0, ctx.ids.reshape(-1), gradients[0].reshape(-1, ctx.total.shape[1]).float())
        return None, None, None, None


class SmoothedCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of a tied output layer, with the gradient of the label-smoothed one.

    With ``z = hidden @ weight.T``, e = `LABEL_SMOOTHING` and V ids, the gradient of
    ``lse(z) - (1 - e) z_y - e mean(z)`` is ``softmax(z) - (1 - e) onehot(y) - e / V``. The last term is the same for
    every logit, so it is added to the products instead. Everything is made in the forward pass, for a loss that is not
    scaled afterwards, a few rows of logits at a time.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, total: Tensor) -> Tensor:
        """Nats a token; `total` takes the gradient of the weight."""
        count, size = len(labels), len(weight)
        change = torch.empty(count, size, dtype=hidden.dtype, device=hidden.device)
        for start in range(0, count, _ROWS):
            rows = slice(start, start + _ROWS)
            torch.softmax(hidden[rows] @ weight.T, -1, out=change[rows])
        own = change.gather(1, labels[:, None])
        change.scatter_(1, labels[:, None], own - (1 - LABEL_SMOOTHING))
        share = LABEL_SMOOTHING / size
        total.add_(change.T @ hidden, alpha=1 / count).sub_(hidden.float().sum(0), alpha=share / count)
        ctx.save_for_backward((change @ weight - share * weight.float().sum(0).to(weight.dtype)) / count)
        return -own.float().clamp_min(1e-30).log().mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """The hidden states' gradient, made already."""
        return ctx.saved_tensors[0], None, None, None


class RmsNorm(torch.autograd.Function):
    """``x / rms(x) * weight`` over the last axis, in fewer passes than torch makes of it on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Of the same shape."""
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
        inverse = square.div_(x.shape[-1]).add_(epsilon).rsqrt_().to(x.dtype)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Of x and of the weight."""
        unit, inverse, weight = ctx.saved_tensors
        product = gradients[0] * unit
        along = (product @ weight[:, None]) / unit.shape[-1]
        change = (gradients[0] * weight).addcmul_(unit, along, value=-1).mul_(inverse)
        return change, product.flatten(0, -2).sum(0), None


def embed(anchor: Tensor, weight: Tensor, ids: Tensor, total: Tensor) -> Tensor:
    """See `Embed`."""
    rows: Tensor = Embed.apply(anchor, weight, ids, total)  # type: ignore[no-untyped-call]
    return rows


def smoothed_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor, total: Tensor) -> Tensor:
    """See `SmoothedCrossEntropy`."""
    nats: Tensor = SmoothedCrossEntropy.apply(hidden, weight, labels, total)  # type: ignore[no-untyped-call]
    return nats


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """See `RmsNorm`."""
    y: Tensor = RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return y


def cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The summed plain cross entropy in nats, without gradients."""
    sums = [
        functional.cross_entropy((hidden[i : i + _ROWS] @ weight.T).float(), labels[i : i + _ROWS], reduction="sum")
        for i in range(0, len(labels), _ROWS)
    ]
    return torch.stack(sums).sum()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``[batch, length, width]`` to ``[batch, heads, length, width / heads]``."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of split heads, ``softmax(q k' / sqrt(size) + mask) v``, heads joined again."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    return (weights @ value).transpose(1, 2).flatten(2)


def causal_mask(length: int, like: Tensor) -> Tensor:
    """``[length, length]``: 0 up to the diagonal, minus infinity beyond."""
    return torch.full((length, length), float("-inf"), dtype=like.dtype, device=like.device).triu_(1)


def padding_mask(lengths: Tensor, longest: int, like: Tensor) -> Tensor | None:
    """``[batch, 1, 1, longest]``, minus infinity at padding; None if there is none."""
    if int(lengths.min()) == longest:
        return None
    beyond = torch.arange(longest, device=lengths.device) >= lengths[:, None]
    mask = torch.zeros(beyond.shape, dtype=like.dtype, device=like.device).masked_fill_(beyond, float("-inf"))
    return mask[:, None, None]
