"""int8 per channel, worked by hand."""

import numpy as np
import pytest

from edgekit.quantize.int8 import quantize_per_channel


def test_each_column_has_its_own_scale():
    weight = np.array([[1.0, -2.0, 0.5], [0.5, 1.0, -0.25]], np.float32)
    quantized = quantize_per_channel(weight, axis=1)
    np.testing.assert_array_equal(quantized.scale, np.array([1 / 127, 2 / 127, 0.5 / 127], np.float32))
    assert quantized.values.dtype == np.int8
    # 0.5 / (1 / 127) = 63.5, 1 / (2 / 127) = 63.5 and -0.25 / (0.5 / 127) = -63.5: ties, which go to even.
    assert quantized.values.tolist() == [[127, -127, 127], [64, 64, -64]]
    assert quantized.axis == 1


def test_each_row_has_its_own_scale():
    weight = np.array([[127.0, 3.4, -3.6], [254.0, 6.0, -254.0]], np.float32)
    quantized = quantize_per_channel(weight, axis=0)
    assert quantized.scale.tolist() == [1.0, 2.0]
    assert quantized.values.tolist() == [[127, 3, -4], [127, 3, -127]]
    assert quantized.axis == 0


def test_ties_go_to_the_even_number():
    weight = np.array([[127.0], [0.5], [1.5], [2.5], [-0.5], [-1.5], [-2.5]], np.float32)
    assert quantize_per_channel(weight, axis=1).values.ravel().tolist() == [127, 0, 2, 2, 0, -2, -2]


def test_the_largest_value_becomes_127_and_never_minus_128():
    random = np.random.default_rng(0)
    weight = random.normal(size=(64, 500)).astype(np.float32) * np.float32(10.0) ** random.integers(-20, 20, 500)
    values = quantize_per_channel(weight.astype(np.float32), axis=1).values
    np.testing.assert_array_equal(np.abs(values.astype(int)).max(axis=0), 127)
    assert values.min() == -127


@pytest.mark.parametrize("axis", [0, 1])
def test_a_channel_of_zeros_has_scale_one(axis):
    weight = np.ones((2, 2), np.float32)
    weight[(slice(None), 1)[::1] if axis == 1 else 1] = 0
    quantized = quantize_per_channel(weight, axis)
    assert quantized.scale.tolist() == [np.float32(1 / 127), 1.0]
    np.testing.assert_array_equal(quantized.dequantize(), weight)


@pytest.mark.parametrize("largest", [1e-45, 1e-44, 1e-40, 1e-37])
def test_a_channel_too_small_for_a_scale_is_zero(largest):
    """Below the smallest normal float a scale would round to nothing or lose its digits."""
    quantized = quantize_per_channel(np.array([[largest, 1.0]], np.float32), axis=1)
    assert np.abs(quantized.dequantize() - [[largest, 1.0]]).max() <= 2e-37 / 254 + largest * 1e-5 or largest < 1e-36


@pytest.mark.parametrize("axis", [0, 1])
def test_no_value_is_off_by_more_than_half_a_step(axis):
    random = np.random.default_rng(1)
    weight = (random.standard_t(2, size=(50, 70)) * random.uniform(1e-6, 1e6, (50, 70))).astype(np.float32)
    quantized = quantize_per_channel(weight, axis)
    step = np.expand_dims(quantized.scale, 1 - axis).astype(np.float64)
    error = np.abs(quantized.values * step - weight) / step
    assert error.max() <= 0.5 + 1e-4
    assert error.max() > 0.4


def test_quantising_what_was_dequantised_changes_nothing():
    random = np.random.default_rng(2)
    once = quantize_per_channel(random.normal(size=(30, 40)).astype(np.float32), axis=0)
    again = quantize_per_channel(once.dequantize(), axis=0)
    np.testing.assert_array_equal(again.values, once.values)
    np.testing.assert_allclose(again.scale, once.scale, rtol=1e-6)


def test_least_error_cuts_an_outlier_off():
    """Hundredths are whole steps of the whole range already; of many normal numbers a few large ones are cut off."""
    exact = np.array([[0.1, 0.2, -1.0, 1.27]], np.float32).T
    np.testing.assert_allclose(quantize_per_channel(exact, 1, least_error=True).scale, [0.01], rtol=1e-6)
    random = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    random[0] = 4.2
    plain, searched = (quantize_per_channel(random, 1, least_error=choice) for choice in (False, True))
    errors = [np.square(tensor.dequantize() - random).sum(axis=0) for tensor in (plain, searched)]
    assert np.all(errors[1] < errors[0])
    assert np.all(searched.scale < plain.scale)


def test_least_error_never_has_more_error_than_rounding_to_nearest():
    matrix = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32) ** 3
    for axis in (0, 1):
        plain, searched = (quantize_per_channel(matrix, axis, least_error=choice) for choice in (False, True))
        errors = [np.square(tensor.dequantize() - matrix).sum(axis=1 - axis) for tensor in (plain, searched)]
        assert np.all(errors[1] <= errors[0] * (1 + 1e-5))


def test_least_error_of_zeros_is_zeros():
    tensor = quantize_per_channel(np.zeros((4, 2), np.float32), 1, least_error=True)
    assert tensor.scale.tolist() == [1, 1]
    assert not tensor.values.any()
