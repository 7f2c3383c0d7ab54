"""Blockwise rounding: worked by hand, then its promises on random matrices."""

import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.quantize.blockwise import CHUNK, BlockFormat, fitting_block_size, quantize_blockwise

NEAREST_4 = BlockFormat(4, 16, least_error=False)
FORMATS = [
    BlockFormat(bits, block_size, symmetric, least_error)
    for bits in (4, 8)
    for block_size in (16, 32)
    for symmetric in (False, True)
    for least_error in (False, True)
]


def column(*values):
    """A matrix ``[16, 1]``: one block, filled up with zeros."""
    matrix = np.zeros((16, 1), np.float32)
    matrix[: len(values), 0] = values
    return matrix


def levels(tensor, count):
    return tensor.unpacked_values()[0, 0, :count].tolist()


def squared_error(tensor, matrix, importance=None):
    squares = (tensor.dequantize().astype(np.float64) - matrix) ** 2
    return float((squares if importance is None else squares * importance[:, None]).sum())


def test_the_largest_magnitude_becomes_the_lowest_integer():
    """max = 4: scale 4 / -8 = -0.5, so 4 is -8 steps, -1 is 2 steps, and -4 would be 8 steps, one too many."""
    tensor = quantize_blockwise(column(4, -1, 0.5, -4), NEAREST_4)
    assert tensor.scales.tolist() == [[-0.5]]
    assert levels(tensor, 5) == [0, 10, 7, 15, 8]
    assert tensor.zero_points is None
    np.testing.assert_array_equal(tensor.dequantize()[:5, 0], [4, -1, 0.5, -3.5, 0])


def test_eight_bits_have_256_levels():
    tensor = quantize_blockwise(column(-128, 127, 3.4, -3.6), BlockFormat(8, 16, least_error=False))
    assert tensor.scales.tolist() == [[1.0]]
    assert levels(tensor, 5) == [0, 255, 131, 124, 128]


def test_ties_go_to_the_even_number():
    tensor = quantize_blockwise(column(-8, 0.5, 1.5, 2.5, -0.5, -1.5), NEAREST_4)
    assert levels(tensor, 6) == [0, 8, 10, 10, 8, 6]


def test_a_zero_point_spends_all_levels_on_the_range():
    """-3 to 12 in 15 steps: scale 1, zero point 3."""
    tensor = quantize_blockwise(column(-3, 12, 4.4), BlockFormat(4, 16, symmetric=False, least_error=False))
    assert tensor.scales.tolist() == [[1.0]]
    assert tensor.unpacked_zero_points().tolist() == [[3]]
    assert levels(tensor, 4) == [0, 15, 7, 3]


def test_zero_is_in_the_range_also_where_all_values_are_positive():
    tensor = quantize_blockwise(
        np.linspace(15, 30, 16, dtype=np.float32)[:, None], BlockFormat(4, 16, symmetric=False, least_error=False)
    )
    assert tensor.scales.tolist() == [[2.0]]
    assert tensor.unpacked_zero_points().tolist() == [[0]]


def test_the_scale_of_least_squares_is_chosen():
    """Of 8, 1.4 (15 times) nearest makes 8 and 1: off by 15 x 0.16 = 2.4.

    The integers -8 and -1 have the least-squares scale -(64 + 21) / (64 + 15) = -85 / 79, which leaves
    8^2 + 15 x 1.4^2 - 85^2 / 79 = 1.944.
    """
    matrix = np.full((16, 1), 1.4, np.float32)
    matrix[0] = 8
    found = quantize_blockwise(matrix, BlockFormat(4, 16))
    assert squared_error(quantize_blockwise(matrix, NEAREST_4), matrix) == pytest.approx(2.4, rel=1e-5)
    assert squared_error(found, matrix) <= 64 + 15 * 1.96 - 85**2 / 79 + 1e-4


def test_important_inputs_get_the_smaller_error():
    matrix = np.random.default_rng(0).normal(size=(64, 40)).astype(np.float32)
    importance = np.where(np.arange(64) % 4 == 0, 100, 1e-3).astype(np.float32)
    plain = quantize_blockwise(matrix, BlockFormat(4, 32))
    weighted = quantize_blockwise(matrix, BlockFormat(4, 32), importance=importance)
    assert squared_error(weighted, matrix, importance) < 0.8 * squared_error(plain, matrix, importance)
    assert squared_error(weighted, matrix) > squared_error(plain, matrix)


def test_equal_importance_changes_nothing():
    """Also where it is so small that squares would underflow."""
    matrix = np.random.default_rng(1).normal(size=(40, 9)).astype(np.float32)
    plain = quantize_blockwise(matrix, BlockFormat(4, 16))
    weighted = quantize_blockwise(matrix, BlockFormat(4, 16), importance=np.full(40, 1e-42, np.float32))
    np.testing.assert_array_equal(weighted.values, plain.values)
    unused = quantize_blockwise(matrix, BlockFormat(4, 16), importance=np.zeros(40, np.float32))
    np.testing.assert_array_equal(unused.values, plain.values)


@pytest.mark.parametrize("block_format", FORMATS, ids=str)
@pytest.mark.parametrize("length", [64, 40, 5])
def test_no_value_is_off_by_more_than_a_step_allows(block_format, length):
    """Nearest: half a step, and one for the value opposite the extreme, which symmetric integers can't reach."""
    matrix = np.random.default_rng(2).laplace(size=(length, 30)).astype(np.float32)
    tensor = quantize_blockwise(matrix, block_format)
    assert tensor.shape == matrix.shape
    assert (tensor.bits, tensor.block_size) == (block_format.bits, block_format.block_size)
    steps = np.repeat(np.abs(tensor.scales), block_format.block_size, axis=1).T[:length]
    off = np.abs(tensor.dequantize() - matrix) / steps
    assert off.max() > 0.4
    if not block_format.least_error:
        assert off.max() <= 1.001
        assert np.mean(off > 0.501) < 0.04


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_search_loses_less_than_nearest_in_every_matrix(bits, symmetric):
    for seed in range(3):
        matrix = np.random.default_rng(seed).laplace(size=(96, 50)).astype(np.float32)
        nearest = quantize_blockwise(matrix, BlockFormat(bits, 32, symmetric, least_error=False))
        searched = quantize_blockwise(matrix, BlockFormat(bits, 32, symmetric))
        assert squared_error(searched, matrix) < 0.97 * squared_error(nearest, matrix)


@pytest.mark.parametrize("block_format", FORMATS, ids=str)
def test_what_lies_on_the_levels_already_comes_back(block_format):
    random = np.random.default_rng(3)
    steps = random.integers(-(1 << (block_format.bits - 1)), (1 << (block_format.bits - 1)), (64, 8))
    steps[::16] = -(1 << (block_format.bits - 1))
    steps[1::16] = (1 << (block_format.bits - 1)) - 1
    matrix = (steps * random.uniform(0.01, 2, 8)).astype(np.float32)
    np.testing.assert_allclose(quantize_blockwise(matrix, block_format).dequantize(), matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block_format", FORMATS, ids=str)
def test_zeros_stay_zeros(block_format):
    matrix = np.zeros((40, 3), np.float32)
    matrix[:, 1] = 1
    dequantized = quantize_blockwise(matrix, block_format).dequantize()
    np.testing.assert_array_equal(dequantized[:, [0, 2]], 0)
    np.testing.assert_allclose(dequantized[:, 1], 1, rtol=0.1)


@pytest.mark.parametrize("block_format", FORMATS, ids=str)
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-30, 1e15])
def test_very_small_and_very_large_values_stay_what_they_are(block_format, size):
    random = np.random.default_rng(4)
    matrix = (random.uniform(-1, 1, (32, 5)) * size).astype(np.float32)
    dequantized = quantize_blockwise(matrix, block_format).dequantize()
    assert np.abs(dequantized - matrix).max() <= max(0.13 * size, 1e-37)


@pytest.mark.filterwarnings("error")
def test_values_whose_sums_overflow_are_refused():
    with pytest.raises(SourceError, match=r"scales must be finite; the weights are damaged"):
        quantize_blockwise(column(3e38, -3e38, 2e38), BlockFormat(4, 16))


def test_a_table_is_cut_along_its_width():
    table = np.random.default_rng(5).normal(size=(30, 40)).astype(np.float32)
    tensor = quantize_blockwise(table, BlockFormat(4, 16), axis=1)
    matrix = quantize_blockwise(np.ascontiguousarray(table.T), BlockFormat(4, 16))
    assert tensor.shape == (30, 40)
    np.testing.assert_array_equal(tensor.values, matrix.values)
    np.testing.assert_array_equal(tensor.dequantize(), matrix.dequantize().T)


@pytest.mark.parametrize(
    ("length", "wanted", "expected"),
    [
        (1536, 128, 128),  # twelve blocks, nothing padded
        (576, 128, 128),  # 640: a ninth more
        (192, 128, 64),  # 256 would be a third more
        (144, 128, 32),  # 192 would be a third more
        (40, 64, 32),
        (40, 32, 32),
        (20, 16, 16),
    ],
)
def test_blocks_are_as_large_as_wanted_where_little_is_padded(length, wanted, expected):
    assert fitting_block_size(length, wanted) == expected


def test_the_chunks_make_no_difference():
    matrix = np.random.default_rng(6).normal(size=(64, CHUNK // 64 + 7)).astype(np.float32)
    whole = quantize_blockwise(matrix, BlockFormat(4, 32, symmetric=False))
    end = quantize_blockwise(matrix[:, -20:], BlockFormat(4, 32, symmetric=False))
    np.testing.assert_array_equal(whole.values[-20:], end.values)
    np.testing.assert_array_equal(whole.scales[-20:], end.scales)
    np.testing.assert_array_equal(whole.zero_points[-20:], end.zero_points)


def test_a_row_longer_than_a_chunk_is_quantised_whole():
    matrix = np.random.default_rng(7).normal(size=(CHUNK + 100, 2)).astype(np.float32)
    tensor = quantize_blockwise(matrix, NEAREST_4)
    assert np.abs(tensor.dequantize() - matrix).max() < 0.6
