"""A model's weights as a `Scheme` wants them: every matrix that a product or an embedding lookup uses, one by one.

Biases, normalisations and rotary tables stay float32: they are a thousandth of the weights and feed sums, not products.
What a checkpoint quantised itself keeps its integers and scales where it has the bits that the scheme asks for; only
its offsets go into zero points as far as whole steps of them do (`edgekit.quantize.offsets`). Matrices in blocks of
other bits are dequantised and quantised anew, or stay float32. A float matrix that was 4-bit blocks once, as in an fp32
bundle of a quantised source, becomes the same 4-bit blocks again where blocks of their size are wanted.

Static activations add one array a product, its activation scale; dynamic ones take away those that a checkpoint ships.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, Tensor
from edgekit.graph.weights_file import Weights, activation_scale_name, channel_axis
from edgekit.quantize.blockwise import BlockFormat, fitting_block_size, quantize_blockwise
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.compact import compact_blocks
from edgekit.quantize.int8 import quantize_per_channel
from edgekit.quantize.offsets import settle_offsets
from edgekit.quantize.recover import BLOCK_SIZE as RECOVERED_BLOCK_SIZE
from edgekit.quantize.recover import recover_blocks
from edgekit.quantize.scheme import SCHEMES, ChannelFormat, Format, Scheme


def quantize_weights(
    weights: Weights, scheme: Scheme = SCHEMES["seq2seq"]["int8"], calibration: Calibration | None = None
) -> dict[str, Tensor]:
    """The weights with each matrix in its format; other tensors pass through.

    Args:
        weights: by name; each is read once, so a mapping may calculate them on access.
        scheme: what becomes of which matrix.
        calibration: of the model; needed where the scheme says so.
    """
    quantized: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    dropped: set[str] = set()
    for name in weights:
        tensor, wanted = weights[name], scheme.format_of(name)
        quantized[name] = _quantize(name, tensor, wanted, calibration)
        if isinstance(wanted, ChannelFormat) and len(tensor.shape) == 2 and wanted.activations != "shipped":
            dropped.add(activation_scale_name(name))
            if wanted.activations == "static" and calibration is not None and name in calibration.inputs:
                scale = calibration.inputs[name].scale(wanted.method)
                scales[activation_scale_name(name)] = np.asarray(scale)
    return {name: tensor for name, tensor in quantized.items() if name not in dropped} | scales


def _quantize(name: str, tensor: Tensor, wanted: Format, calibration: Calibration | None) -> Tensor:
    if len(tensor.shape) != 2:
        return tensor
    if isinstance(tensor, QuantizedTensor):
        is_float = isinstance(wanted, ChannelFormat) and wanted.activations == "float"
        return dataclasses.replace(tensor, weight_only=True) if is_float else tensor
    if isinstance(tensor, BlockQuantizedTensor):
        if isinstance(wanted, BlockFormat) and wanted.bits == tensor.bits:
            settled = settle_offsets(tensor)
            return compact_blocks(settled) if wanted.compact else settled
        tensor = tensor.dequantize()
    if wanted is None:
        return tensor
    axis, matrix = channel_axis(name), np.asarray(tensor, np.float32)
    if isinstance(wanted, ChannelFormat):
        weight_only = wanted.activations == "float"
        return quantize_per_channel(matrix, axis, least_error=wanted.least_error, weight_only=weight_only)
    wanted = dataclasses.replace(wanted, block_size=fitting_block_size(matrix.shape[1 - axis], wanted.block_size))
    recovered = None
    if wanted.bits == 4 and wanted.block_size == RECOVERED_BLOCK_SIZE:
        recovered = recover_blocks(matrix, 1 - axis)
    importance = None
    if wanted.calibrated and calibration is not None and name in calibration.inputs:
        importance = calibration.inputs[name].mean_square
    blocks = recovered or quantize_blockwise(matrix, wanted, axis=1 - axis, importance=importance)
    return compact_blocks(blocks) if wanted.compact else blocks
