"""A model's weights to int8: every matrix that a product or an embedding lookup uses; all else stays float32.

Biases, layer normalisations and positions are a thousandth of the weights and feed sums, not products. A matrix that
its checkpoint already quantised (Bergamot's) is left exactly as it is.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph.seq2seq import channel_axis
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import Weights
from edgekit.quantize.int8 import quantize_per_channel

KEPT_IN_FLOAT = ("positions.weight",)


def quantize_weights(weights: Weights) -> dict[str, Tensor]:
    """int8 per output channel for each float matrix of ``weights``; other tensors pass through."""
    return {name: _quantize(name, tensor) for name, tensor in weights.items()}


def _quantize(name: str, tensor: Tensor) -> Tensor:
    if not isinstance(tensor, np.ndarray) or tensor.ndim != 2 or name in KEPT_IN_FLOAT:
        return tensor
    return quantize_per_channel(tensor, channel_axis(name))
