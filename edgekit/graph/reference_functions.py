"""What stands between matrix products, in plain numpy, from its equations: activations, norms, rotation, attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray

_erf = np.vectorize(math.erf, otypes=[np.float32])
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))),  # https://arxiv.org/abs/1606.08415, exact form
    "gelu_tanh": lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),  # its section 2
    "swish": lambda x: x / (1 + np.exp(-x)),
}


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Layer normalisation (https://arxiv.org/abs/1607.06450) along the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return (normal * weight + bias).astype(np.float32)


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Root mean square normalisation (https://arxiv.org/abs/1910.07467) along the last axis."""
    return (x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * weight).astype(np.float32)


def rotate(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """Rotary position embedding (https://arxiv.org/abs/2104.09864, 3.2.2) of ``[length, heads, head_dim]``.

    Args:
        x: queries or keys.
        cos: of each position and pair, ``[length, head_dim / 2]``.
        sin: likewise.
        interleaved: pairs are neighbours; else the two halves.
    """
    half = x.shape[-1] // 2
    first, second = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    cos, sin = cos[:, None], sin[:, None]
    rotated = first * cos - second * sin, second * cos + first * sin
    return np.stack(rotated, axis=-1).reshape(x.shape) if interleaved else np.concatenate(rotated, axis=-1)


def attend(query: Array, key: Array, value: Array, scale: float, mask: Array | float = 0.0) -> Array:
    """Scaled dot-product attention (https://arxiv.org/abs/1706.03762, 3.2) of ``[length, heads, head_dim]`` each.

    Args:
        query: as many heads as keys and values have, or a multiple: then neighbours share one.
        key: keys.
        value: values.
        scale: factor on the products.
        mask: added to them, ``[query length, key length]``, or such a matrix for each head.

    Returns:
        ``float32 [query length, heads * head_dim]``.
    """
    shared = query.shape[1] // key.shape[1]
    q, k, v = (x.transpose(1, 0, 2) for x in (query, key.repeat(shared, axis=1), value.repeat(shared, axis=1)))
    scores = q @ k.transpose(0, 2, 1) * np.float32(scale) + mask
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attended = scores / scores.sum(axis=-1, keepdims=True) @ v
    return attended.transpose(1, 0, 2).reshape(len(query), -1).astype(np.float32)


def causal_mask(length: int, window: int | None = None) -> Array:
    """0 where a token may look, else minus infinity: at itself and before, no further back than ``window`` tokens."""
    distance = np.arange(length)[:, None] - np.arange(length)
    hidden = (distance < 0) | (distance >= (window or length))
    return np.where(hidden, np.float32(-np.inf), np.float32(0))
