"""4-bit blocks are found again in what they were dequantised to."""

import numpy as np
import pytest

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.quantize.recover import recover_blocks


def ggml_q4_1(rows, length, seed=0):
    """Blocks of 32 as llama.cpp's quantize_row_q4_1_ref makes them: d and m in float16, both ends of the range used."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(rows, length // 32, 32)).astype(np.float32)
    low, high = weights.min(axis=2), weights.max(axis=2)
    d, m = ((high - low) / 15).astype(np.float16).astype(np.float32), low.astype(np.float16).astype(np.float32)
    values = np.clip(np.rint((weights - low[..., None]) / d[..., None]), 0, 15).astype(np.uint8)
    return BlockQuantizedTensor(pack_values(values, 4), d, length, 4, offsets=m + 8 * d)


def ggml_q4_0(rows, length, seed=0):
    """As quantize_row_q4_0_ref: the value largest in magnitude is -8 steps."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 16, (rows, length // 32, 32)).astype(np.uint8)
    values[..., 5] = 0
    d = random.normal(size=(rows, length // 32)).astype(np.float16).astype(np.float32)
    return BlockQuantizedTensor(pack_values(values, 4), d, length, 4)


@pytest.mark.parametrize("make", [ggml_q4_1, ggml_q4_0])
@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_come_back_bit_for_bit(make, axis):
    blocks = make(20, 96)
    matrix = blocks.dequantize() if axis == 0 else np.ascontiguousarray(blocks.dequantize().T)
    found = recover_blocks(matrix, axis)
    assert found.shape == matrix.shape
    assert (found.offsets is None) == (blocks.offsets is None)
    np.testing.assert_array_equal(found.values, blocks.values)
    np.testing.assert_allclose(found.scales, blocks.scales, rtol=2e-6)
    np.testing.assert_allclose(found.dequantize(), matrix, atol=1e-6)


def test_a_block_of_one_value_comes_back():
    blocks = ggml_q4_1(20, 64)
    matrix = blocks.dequantize()
    matrix[32:, 3], matrix[:32, 4] = -0.75, 0
    found = recover_blocks(matrix)
    np.testing.assert_array_equal(found.dequantize()[32:, 3], -0.75)
    np.testing.assert_array_equal(found.dequantize()[:32, 4], 0)


def test_blocks_that_lie_beside_each_other_come_back_together():
    """A fused projection: the rows of two matrices."""
    matrices = [ggml_q4_1(20, 64, seed).dequantize() for seed in (0, 1)]
    found = recover_blocks(np.concatenate(matrices, axis=1))
    np.testing.assert_allclose(found.dequantize(), np.concatenate(matrices, axis=1), atol=1e-6)


@pytest.mark.parametrize("row", [0, 19])
def test_one_value_off_its_level_is_enough_for_none(row):
    matrix = ggml_q4_1(20, 64).dequantize()
    middle = np.abs(matrix[:32, row]).argmin()
    matrix[middle, row] += 0.02
    assert recover_blocks(matrix) is None


@pytest.mark.parametrize("shape", [(64, 10), (33, 10), (64, 0)], ids=str)
def test_a_float_matrix_has_none(shape):
    assert recover_blocks(np.random.default_rng(0).normal(size=shape).astype(np.float32)) is None
