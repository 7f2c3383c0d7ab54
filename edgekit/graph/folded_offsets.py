"""Offsets stored as blocks behind the values that they belong to, so that one product does both.

What offsets add to a product is ``sum over blocks of offset * sum(x in the block)``: a product of the sums with a
matrix of offsets. In float, beside the values, it takes 15 % of a decoding step of SmolLM2-135M; behind them, 6 %. Each
row of the matrix then has one value a block more, and the same kernel multiplies it with ``[x, sums of x's blocks]``::

    own values, filled up to whole blocks | offsets, one a block, in blocks of their own

In: a `BlockQuantizedTensor` whose offsets are one too. Out: one tensor without offsets that holds both, and back.
Refuses a number of blocks that no such matrix has.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edgekit.errors import SourceError
from edgekit.graph.tensors import BlockQuantizedTensor, pack_values


def folded_length(tensor: BlockQuantizedTensor) -> int:
    """How many values a row of `join_offsets` has: whole blocks of its own, and one value a block."""
    return tensor.scales.shape[1] * (tensor.block_size + 1)


def join_offsets(tensor: BlockQuantizedTensor) -> BlockQuantizedTensor:
    """A matrix and its offsets as one matrix ``[folded_length, out]``, which takes ``[x, sums of x's blocks]``.

    Args:
        tensor: of axis 0, its offsets in blocks.
    """
    offsets = tensor.offsets
    assert isinstance(offsets, BlockQuantizedTensor)
    zero_points = None
    if tensor.zero_points is not None:
        unpacked = [tensor.unpacked_zero_points(), offsets.unpacked_zero_points()]
        zero_points = pack_values(np.concatenate(unpacked, axis=1), tensor.bits)
    return BlockQuantizedTensor(
        values=np.concatenate([tensor.values, offsets.values], axis=1),
        scales=np.concatenate([tensor.scales, offsets.scales], axis=1),
        length=folded_length(tensor),
        bits=tensor.bits,
        axis=tensor.axis,
        zero_points=zero_points,
    )


def split_offsets(joined: BlockQuantizedTensor, length: int | None = None) -> BlockQuantizedTensor:
    """The matrix that `join_offsets` was given.

    Args:
        joined: values, scales and zero points of both; its length doesn't matter.
        length: how many values a row has; None where its last block is full.

    Raises:
        SourceError: no matrix with offsets has so many blocks, or none of that length.
    """
    size, total = joined.block_size, joined.scales.shape[1]
    # b blocks and ceil(b / size) of offsets: b is all but one of each size + 1, the last of which need not be whole.
    blocks = total - -(-total // (size + 1))
    if blocks < 1 or blocks + -(-blocks // size) != total:
        raise SourceError(
            f"{total} blocks of {size} values can't be blocks with their offsets behind them; the weights are damaged"
        )
    own, offsets = (
        dataclasses.replace(
            joined,
            values=np.ascontiguousarray(joined.values[:, part]),
            scales=np.ascontiguousarray(joined.scales[:, part]),
            length=values,
            axis=axis,
            zero_points=None
            if joined.zero_points is None
            else pack_values(joined.unpacked_zero_points()[:, part], joined.bits),
        )
        for part, values, axis in (
            (slice(blocks), length or blocks * size, joined.axis),
            (slice(blocks, None), blocks, 1),
        )
    )
    return dataclasses.replace(own, offsets=offsets)
