"""Offsets go into zero points where whole steps of them do."""

import numpy as np
import pytest

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.quantize.offsets import settle_offsets


def blocks(scales, offsets, zero_points=None, bits=4):
    """One row; q is 0, 1, 2 ... in each block of 16."""
    values = np.broadcast_to(np.arange(16, dtype=np.uint8), (1, len(scales), 16))
    packed = None if zero_points is None else pack_values(np.array([zero_points], np.uint8), bits)
    return BlockQuantizedTensor(
        pack_values(values, bits), np.float32([scales]), 16 * len(scales), bits, 0, packed, np.float32([offsets])
    )


def test_whole_steps_go_into_the_zero_point():
    """From 0, -7.25 steps of 0.5: zero point 7, a quarter of a step is left. From 8, 2.5 steps of -2: zero point 6."""
    settled = settle_offsets(blocks([0.5, -2], [-3.625, -5], [0, 8]))
    assert settled.unpacked_zero_points().tolist() == [[7, 6]]
    assert settled.offsets.tolist() == [[-0.125, -1.0]]


def test_zero_points_stay_in_their_range():
    settled = settle_offsets(blocks([0.5, 0.5], [4, -20], [0, 0]))
    assert settled.unpacked_zero_points().tolist() == [[0, 15]]
    assert settled.offsets.tolist() == [[4.0, -12.5]]


@pytest.mark.parametrize("scale", [0, 1e-42])
def test_a_block_without_steps_keeps_its_offset(scale):
    settled = settle_offsets(blocks([scale], [3.5]))
    assert settled.unpacked_zero_points().tolist() == [[8]]
    assert settled.offsets.tolist() == [[3.5]]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [None, [0] * 50])
def test_the_values_stay_what_they_are(bits, zero_points):
    random = np.random.default_rng(0)
    tensor = blocks(random.normal(size=50), 10 * random.normal(size=50), zero_points, bits)
    settled = settle_offsets(tensor)
    np.testing.assert_allclose(settled.dequantize(), tensor.dequantize(), rtol=1e-5, atol=1e-5)
    assert np.abs(settled.offsets).mean() < np.abs(tensor.offsets).mean()


def test_a_tensor_without_offsets_is_given_back():
    tensor = BlockQuantizedTensor(np.zeros((1, 1, 8), np.uint8), np.ones((1, 1), np.float32), 16, 4)
    assert settle_offsets(tensor) is tensor
