"""A model's weights as a `Scheme` wants them: every matrix that a product or an embedding lookup uses, one by one.

Biases, normalisations and rotary tables stay float32: they are a thousandth of the weights and feed sums, not products.
What a checkpoint quantised itself keeps its integers and scales where it has the bits that the scheme asks for; only
its offsets go into zero points as far as whole steps of them do (`edgekit.quantize.offsets`). Matrices in blocks of
other bits are dequantised and quantised anew, or stay float32. A float matrix that was 4-bit blocks once, as in an fp32
bundle of a quantised source, becomes the same 4-bit blocks again.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, Tensor
from edgekit.graph.weights_file import Weights, channel_axis
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.int8 import quantize_per_channel
from edgekit.quantize.offsets import settle_offsets
from edgekit.quantize.recover import recover_blocks
from edgekit.quantize.scheme import SCHEMES, Format, Scheme


def quantize_weights(weights: Weights, scheme: Scheme = SCHEMES["seq2seq", "int8"]) -> dict[str, Tensor]:
    """The weights with each matrix in its format; other tensors pass through.

    Args:
        weights: by name; each is read once, so a mapping may calculate them on access.
        scheme: what becomes of which matrix.
    """
    return {name: _quantize(name, weights[name], scheme.format_of(name)) for name in weights}


def _quantize(name: str, tensor: Tensor, wanted: Format) -> Tensor:
    if isinstance(tensor, QuantizedTensor) or tensor.ndim != 2:
        return tensor
    if isinstance(tensor, BlockQuantizedTensor):
        if isinstance(wanted, BlockFormat) and wanted.bits == tensor.bits:
            return settle_offsets(tensor)
        tensor = tensor.dequantize()
    if wanted is None:
        return tensor
    axis = channel_axis(name)
    if not isinstance(wanted, BlockFormat):
        return quantize_per_channel(tensor, axis)
    matrix = np.asarray(tensor, np.float32)
    recovered = recover_blocks(matrix, 1 - axis) if wanted.bits == 4 else None
    return recovered or quantize_blockwise(matrix, wanted, axis=1 - axis)
