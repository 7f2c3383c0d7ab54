"""The byte layout of `BlockQuantizedTensor`, worked by hand and run by onnxruntime's MatMulNBits."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.errors import SourceError
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, concatenate_outputs, pack_values


def floats(*rows):
    return np.array(rows, np.float32)


def random_tensor(bits, block_size, length, rows=6, *, zero_points=False, offsets=False, axis=0, seed=0):
    random = np.random.default_rng(seed)
    blocks = -(-length // block_size)
    packed = [
        pack_values(random.integers(0, 1 << bits, shape).astype(np.uint8), bits)
        for shape in ((rows, blocks, block_size), (rows, blocks))
    ]
    scales, minima = random.normal(size=(2, rows, blocks)).astype(np.float32)
    return BlockQuantizedTensor(
        packed[0], scales, length, bits, axis, packed[1] if zero_points else None, minima if offsets else None
    )


def test_the_low_nibble_comes_first():
    values = np.zeros((1, 1, 8), np.uint8)
    values[0, 0, :2] = 0x19, 0xF8  # 9, 1 and 8, 15
    tensor = BlockQuantizedTensor(values, floats([0.5]), 4, bits=4)
    assert tensor.block_size == 16
    assert tensor.shape == (4, 1)
    np.testing.assert_array_equal(tensor.dequantize(), floats([0.5], [-3.5], [0], [3.5]))


def test_eight_bits_have_128_in_the_middle():
    values = np.full((1, 1, 16), 128, np.uint8)
    values[0, 0, :3] = 0, 129, 255
    tensor = BlockQuantizedTensor(values, floats([2]), 16, bits=8)
    np.testing.assert_array_equal(tensor.dequantize()[:4, 0], [-256, 2, 254, 0])


def test_zero_points_are_packed_a_row_at_a_time():
    """Three blocks a row: zero points 1, 2, 3 in the bytes 0x21, 0x_3; the next row starts a new byte."""
    values = np.zeros((2, 3, 8), np.uint8)
    zero_points = np.array([[0x21, 0xF3], [0x54, 0x06]], np.uint8)
    tensor = BlockQuantizedTensor(values, np.ones((2, 3), np.float32), 48, bits=4, zero_points=zero_points)
    np.testing.assert_array_equal(tensor.dequantize()[::16], floats([-1, -4], [-2, -5], [-3, -6]))


def test_an_offset_is_added_to_each_value_of_its_block():
    values = np.zeros((1, 2, 8), np.uint8)
    tensor = BlockQuantizedTensor(
        values, floats([1, 0.5]), 32, 4, zero_points=np.zeros((1, 1), np.uint8), offsets=floats([0.25, -3])
    )
    np.testing.assert_array_equal(tensor.dequantize()[[0, 15, 16, 31], 0], [0.25, 0.25, -3, -3])


def test_a_table_has_its_entries_in_rows():
    tensor = random_tensor(8, 16, 40, rows=3)
    table = BlockQuantizedTensor(tensor.values, tensor.scales, 40, 8, axis=1)
    assert (tensor.shape, table.shape) == ((40, 3), (3, 40))
    np.testing.assert_array_equal(table.dequantize(), tensor.dequantize().T)


def test_dequantising_gives_a_new_c_ordered_float32_array():
    for axis in (0, 1):
        matrix = random_tensor(4, 32, 50, axis=axis).dequantize()
        assert matrix.dtype == np.float32
        assert matrix.flags.c_contiguous
        assert matrix.flags.writeable


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block_size", [16, 32, 64, 128])
@pytest.mark.parametrize("length", [128, 100])
@pytest.mark.parametrize("zero_points", [False, True])
def test_onnxruntime_reads_the_same_values(bits, block_size, length, zero_points):
    tensor = random_tensor(bits, block_size, length, zero_points=zero_points)
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", length]))
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", 6]))
    arrays = {"values": tensor.values, "scales": tensor.scales, "zero_points": tensor.zero_points}
    constants = [
        None if array is None else ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for name, array in arrays.items()
    ]
    attributes = {"K": length, "N": 6, "bits": bits, "block_size": block_size}
    node = ir.node("MatMulNBits", [x, *constants], attributes=attributes, domain="com.microsoft", outputs=[y])
    initializers = [constant for constant in constants if constant is not None]
    graph = ir.Graph(
        [x], [y], nodes=[node], initializers=initializers, opset_imports={"": 20, "com.microsoft": 1}, name="g"
    )
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=10)).SerializeToString()
    inputs = np.eye(length, dtype=np.float32)
    found = onnxruntime.InferenceSession(model).run(None, {"x": inputs})[0]
    np.testing.assert_allclose(found, tensor.dequantize(), rtol=1e-5, atol=1e-5)


def test_chosen_rows_keep_their_blocks():
    tensor = random_tensor(4, 16, 40, zero_points=True, offsets=True)
    order = np.array([4, 0, 1])
    np.testing.assert_array_equal(tensor.rows(order).dequantize(), tensor.dequantize()[:, order])
    np.testing.assert_array_equal(tensor.rows(slice(2, 4)).dequantize(), tensor.dequantize()[:, 2:4])


def test_matrices_with_equal_blocks_are_joined_block_for_block():
    parts = [
        random_tensor(4, 16, 40, rows=2),
        random_tensor(4, 16, 40, rows=3, zero_points=True, seed=1),
        random_tensor(4, 16, 40, rows=1, offsets=True, seed=2),
    ]
    joined = concatenate_outputs(parts)
    assert isinstance(joined, BlockQuantizedTensor)
    np.testing.assert_array_equal(joined.values[2:5], parts[1].values)
    np.testing.assert_array_equal(joined.dequantize(), np.concatenate([p.dequantize() for p in parts], axis=1))
    plain = concatenate_outputs(parts[:1])
    assert isinstance(plain, BlockQuantizedTensor)
    assert plain.zero_points is plain.offsets is None


@pytest.mark.parametrize(
    "other",
    [
        random_tensor(8, 16, 40),
        random_tensor(4, 32, 40),
        np.ones((40, 2), np.float32),
        QuantizedTensor(np.ones((40, 2), np.int8), np.float32([2, 3]), axis=1),
    ],
    ids=["bits", "block size", "float", "int8"],
)
def test_matrices_of_different_kinds_are_joined_as_floats(other):
    first = random_tensor(4, 16, 40)
    joined = concatenate_outputs([first, other])
    second = other if isinstance(other, np.ndarray) else other.dequantize()
    assert isinstance(joined, np.ndarray)
    np.testing.assert_array_equal(joined, np.concatenate([first.dequantize(), second], axis=1))


VALUES = np.zeros((2, 3, 8), np.uint8)
SCALES = np.ones((2, 3), np.float32)
VALID = {"values": VALUES, "scales": SCALES, "length": 40, "bits": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 3}, r"has 4 or 8 bits, found 3"),
        ({"axis": 2}, r"axis is 0 or 1, found 2"),
        ({"values": VALUES.astype(np.int8)}, r"values must be an array of uint8 with 3 dimensions, found int8 of 3"),
        ({"values": VALUES[0]}, r"values must be an array of uint8 with 3 dimensions, found uint8 of 2"),
        ({"values": [[[1]]]}, r"values must be an array of uint8 with 3 dimensions, found list"),
        ({"values": VALUES[:, :, :4]}, r"blocks hold 16, 32, 64, 128 values, found 8"),
        ({"values": np.zeros((2, 3, 128), np.uint8)}, r"blocks hold 16, 32, 64, 128 values, found 256"),
        ({"length": 49}, r"3 blocks of 16 values can't hold rows of 49 values exactly"),
        ({"length": 32}, r"3 blocks of 16 values can't hold rows of 32 values exactly"),
        ({"length": 0, "values": VALUES[:, :0]}, r"0 blocks of 16 values can't hold rows of 0 values exactly"),
        ({"scales": SCALES.astype(np.float16)}, r"scales must be an array of float32 with 2 dim.*found float16 of 2"),
        ({"scales": SCALES[:, :2]}, r"scales must have the shape \[2, 3\], found \[2, 2\]"),
        ({"scales": SCALES * np.nan}, r"scales must be finite"),
        ({"offsets": SCALES[:1]}, r"offsets must have the shape \[2, 3\], found \[1, 3\]"),
        ({"offsets": SCALES * np.inf}, r"offsets must be finite"),
        ({"zero_points": np.zeros((2, 3), np.uint8)}, r"zero points must have the shape \[2, 2\], found \[2, 3\]"),
        ({"zero_points": SCALES}, r"zero points must be an array of uint8 with 2 dimensions, found float32 of 2"),
    ],
)
def test_a_wrong_part_is_refused(changes, message):
    with pytest.raises(SourceError, match=message):
        BlockQuantizedTensor(**VALID | changes)


def test_odd_ends_are_padded_with_zero():
    assert pack_values(np.array([[1, 2, 3]], np.uint8), 4).tolist() == [[0x21, 0x03]]
    assert pack_values(np.array([[1, 2, 3]], np.uint8), 8).tolist() == [[1, 2, 3]]
