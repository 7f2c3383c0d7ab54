"""A model's weights to int8: every matrix that a product or an embedding lookup uses; all else stays float32.

Biases, layer normalisations and positions are a thousandth of the weights and feed sums, not products. A matrix that
its checkpoint already quantised (Bergamot's) is left exactly as it is.
"""

from __future__ import annotations

from edgekit.graph.seq2seq import channel_axis
from edgekit.graph.tensors import QuantizedTensor, Tensor
from edgekit.graph.weights_file import Weights
from edgekit.quantize.int8 import quantize_per_channel

KEPT_IN_FLOAT = ("positions.weight",)


def quantize_weights(weights: Weights) -> dict[str, Tensor]:
    """int8 per output channel for each float matrix of ``weights``; other tensors pass through."""
    return {
        name: quantize_per_channel(tensor, channel_axis(name)) if _is_matrix(name, tensor) else tensor
        for name, tensor in weights.items()
    }


def _is_matrix(name: str, tensor: Tensor) -> bool:
    return not isinstance(tensor, QuantizedTensor) and tensor.ndim == 2 and name not in KEPT_IN_FLOAT
