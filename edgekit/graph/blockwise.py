"""Nodes for matrices in blocks (`BlockQuantizedTensor`): products, and rows of an embedding from the same bytes.

MatMulNBits and GatherBlockQuantized are onnxruntime's, domain com.microsoft. Neither knows offsets (ggml's Q4_1). What
they add is ``sum over blocks of offset * sum(x in the block)``: a small product beside, where they are floats; the same
product with the sums behind ``x``, where they are blocks behind the matrix's own (`edgekit.graph.folded_offsets`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.graph.folded_offsets import folded_length
from edgekit.graph.tensors import BlockQuantizedTensor
from edgekit.graph.weights_file import OFFSET_SUFFIX, SCALE_SUFFIX, ZERO_POINT_SUFFIX

if TYPE_CHECKING:
    from edgekit.graph.emitter import Emitter

MICROSOFT = "com.microsoft"


def block_product(
    emit: Emitter, x: ir.Value, name: str, tensor: BlockQuantizedTensor, bias: ir.Value | None, accuracy_level: int
) -> ir.Value:
    """``x @ W + bias`` for a matrix in blocks: ``float32 [rows, length]`` to ``[rows, tensor rows]``.

    Args:
        emit: the graph.
        x: ``float32 [rows, tensor.length]``.
        name: the matrix's name in the weights file.
        tensor: the matrix.
        bias: ``float32 [tensor rows]``, or None.
        accuracy_level: MatMulNBits' own: 0 keeps ``x`` in float, 4 quantises it to int8, block by block.
    """
    zero_points = None if tensor.zero_points is None else emit.weight(name + ZERO_POINT_SUFFIX)
    length, sums = tensor.length, None
    if tensor.offsets is not None:
        padded, sums = _with_block_sums(emit, x, tensor)
        if isinstance(tensor.offsets, BlockQuantizedTensor):
            x, length, sums = emit.op("Concat", padded, sums, axis=1), folded_length(tensor), None
    product = emit.op(
        "MatMulNBits",
        *(x, emit.weight(name), _scales(emit, name), zero_points, None, bias),
        domain=MICROSOFT,
        K=length,
        N=tensor.values.shape[0],
        bits=tensor.bits,
        block_size=tensor.block_size,
        accuracy_level=accuracy_level,
    )
    if sums is None:
        return product
    return emit.op("Gemm", sums, emit.weight(name + OFFSET_SUFFIX), product, transB=1)


def block_rows(emit: Emitter, name: str, tensor: BlockQuantizedTensor, ids: ir.Value) -> ir.Value:
    """Rows ``ids`` (int64 ``[rows]``) of a table in blocks as ``float32 [rows, length]``."""
    table_rows, blocks, block_bytes = tensor.values.shape
    zero_points = None if tensor.zero_points is None else emit.weight(name + ZERO_POINT_SUFFIX)
    rows = emit.op(
        "GatherBlockQuantized",
        # The same bytes as MatMulNBits', but here a row's blocks are one axis.
        *(emit.weight(name, (table_rows, blocks * block_bytes)), ids, _scales(emit, name), zero_points),
        domain=MICROSOFT,
        bits=tensor.bits,
        block_size=tensor.block_size,
        gather_axis=0,
        quantize_axis=1,
    )
    if tensor.offsets is not None:
        offsets = emit.op("Unsqueeze", emit.op("Gather", emit.weight(name + OFFSET_SUFFIX), ids, axis=0), emit.ints(-1))
        by_block = emit.op("Reshape", rows, emit.ints(-1, blocks, tensor.block_size))
        rows = emit.op("Reshape", emit.op("Add", by_block, offsets), emit.ints(-1, blocks * tensor.block_size))
    if tensor.length == blocks * tensor.block_size:
        return rows
    return emit.op("Slice", rows, emit.ints(0), emit.ints(tensor.length), emit.ints(1))


def _scales(emit: Emitter, name: str) -> ir.Value:
    """A tensor's scales in float32; onnxruntime calculates them at load where they are stored in fewer bytes."""
    stored = emit.weight(name + SCALE_SUFFIX)
    return stored if stored.dtype == ir.DataType.FLOAT else emit.op("Cast", stored, to=ir.DataType.FLOAT)


def _with_block_sums(emit: Emitter, x: ir.Value, tensor: BlockQuantizedTensor) -> tuple[ir.Value, ir.Value]:
    """``x`` filled up to whole blocks with zeros, and the sum of each block, ``float32 [rows, blocks]``."""
    blocks, size = tensor.scales.shape[1], tensor.block_size
    if missing := blocks * size - tensor.length:
        x = emit.op("Pad", x, emit.ints(0, 0, 0, missing))
    by_block = emit.op("Reshape", x, emit.ints(-1, blocks, size))
    return x, emit.op("ReduceSum", by_block, emit.ints(-1), keepdims=0)
