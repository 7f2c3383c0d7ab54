import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.graph.tensors import QuantizedTensor

VALUES = np.array([[1, -2, 3], [-127, 0, 127]], dtype=np.int8)


def scales(*values):
    return np.array(values, dtype=np.float32)


def test_one_scale_multiplies_every_value():
    tensor = QuantizedTensor(VALUES, np.array(0.5, dtype=np.float32))
    np.testing.assert_array_equal(tensor.dequantize(), [[0.5, -1.0, 1.5], [-63.5, 0.0, 63.5]])
    assert tensor.dequantize().dtype == np.float32
    assert tensor.shape == (2, 3)
    assert tensor.axis is None


def test_scales_run_along_their_axis():
    rows = QuantizedTensor(VALUES, scales(2, 10), axis=0)
    np.testing.assert_array_equal(rows.dequantize(), [[2, -4, 6], [-1270, 0, 1270]])
    columns = QuantizedTensor(VALUES, scales(1, 0.5, 2), axis=1)
    np.testing.assert_array_equal(columns.dequantize(), [[1, -1, 6], [-127, 0, 254]])


def test_a_transposed_view_dequantises_to_a_c_ordered_array():
    tensor = QuantizedTensor(VALUES.T, scales(2, 10), axis=1)
    np.testing.assert_array_equal(tensor.dequantize(), [[2, -1270], [-4, 0], [6, 1270]])
    assert tensor.dequantize().flags.c_contiguous


def test_three_dimensions_take_scales_on_the_middle_axis():
    values = np.arange(8, dtype=np.int8).reshape(2, 2, 2)
    tensor = QuantizedTensor(values, scales(1, 10), axis=1)
    np.testing.assert_array_equal(tensor.dequantize(), [[[0, 1], [20, 30]], [[4, 5], [60, 70]]])


def test_products_are_rounded_once_in_float32():
    scale = np.array(0.1, dtype=np.float32)
    expected = np.float32(np.float64(scale) * 3)
    assert QuantizedTensor(np.array([3], dtype=np.int8), scale).dequantize()[0] == expected


@pytest.mark.parametrize(
    ("values", "scale", "axis", "message"),
    [
        (VALUES.astype(np.uint8), scales(1), 0, r"values must be an array of int8, found uint8"),
        ([[1]], scales(1), 0, r"values must be an array of int8, found list"),
        (VALUES, np.array(1.0), None, r"scale must be an array of float32, found float64"),
        (VALUES, 0.5, None, r"scale must be an array of float32, found float"),
        (np.array(1, dtype=np.int8), np.array(1, dtype=np.float32), None, r"at least one dimension"),
        (VALUES, scales(1, 1), 2, r"shape \[2, 3\] has no axis 2"),
        (VALUES, scales(1, 1, 1), -1, r"shape \[2, 3\] has no axis -1"),
        (VALUES, scales(1, 1), 1, r"axis 1 needs scales of shape \[3\], found \[2\]"),
        (VALUES, scales(1), None, r"axis None needs scales of shape \[\], found \[1\]"),
        (VALUES, scales(1, 0), 0, r"positive and finite"),
        (VALUES, scales(1, -1), 0, r"positive and finite"),
        (VALUES, scales(1, np.nan), 0, r"positive and finite"),
        (VALUES, np.array(np.inf, dtype=np.float32), None, r"positive and finite"),
    ],
)
def test_a_wrong_part_is_refused(values, scale, axis, message):
    with pytest.raises(SourceError, match=message):
        QuantizedTensor(values, scale, axis)
