"""Offsets behind the values that they belong to: the layout by hand, the product by onnxruntime, the weights file."""

import dataclasses

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from safetensors.numpy import save_file

from edgekit.bundle.manifest import TensorQuantization
from edgekit.errors import SourceError
from edgekit.graph.describe import describe_quantization
from edgekit.graph.emitter import Emitter
from edgekit.graph.folded_offsets import join_offsets, split_offsets
from edgekit.graph.reference_products import ReferenceProducts
from edgekit.graph.tensors import BlockQuantizedTensor, concatenate_outputs, pack_values
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights, save_weights

NAME = "layer.weight"
# Blocks, and lengths within the last: one; odd and even; more than a block of offsets holds.
LENGTHS = (16, 40, 64, 256, 270)


def folded(length, bits=4, block_size=16, rows=5, *, zero_points=True, seed=0):
    """A random matrix with offsets of up to half a step."""
    random = np.random.default_rng(seed)

    def tensor(values, axis, step):
        blocks = -(-values // block_size)
        q, z = (
            pack_values(random.integers(0, 1 << bits, shape).astype(np.uint8), bits)
            for shape in ((rows, blocks, block_size), (rows, blocks))
        )
        scales = random.uniform(0.5 * step, step, (rows, blocks)).astype(np.float32)
        return BlockQuantizedTensor(q, scales, values, bits, axis, z if zero_points else None)

    own = tensor(length, 0, 0.1)
    return dataclasses.replace(own, offsets=tensor(own.scales.shape[1], 1, 0.005))


def exact(tensor):
    """The same values, the offsets as floats."""
    return dataclasses.replace(tensor, offsets=tensor.unpacked_offsets())


def by_hand():
    """One row of three blocks of 16, whose values are 1, 2 and 3 steps; offsets 0.5, -0.25 and 0."""
    values = pack_values(np.repeat(np.uint8([[9, 10, 11]]), 16, axis=1).reshape(1, 3, 16), 4)
    packed = np.uint8([[[0x36, 0x04, 0, 0, 0, 0, 0, 0]]])  # 6, 3 and 4 of steps of 0.25, from 4
    offsets = BlockQuantizedTensor(packed, np.float32([[0.25]]), 3, 4, 1, np.uint8([[0x04]]))
    return BlockQuantizedTensor(values, np.float32([[1, 2, 4]]), 40, 4, 0, np.uint8([[0x88, 0x08]]), offsets)


def test_an_offset_in_a_block_is_added_to_each_value_of_its_own():
    found = by_hand().dequantize()[:, 0].tolist()
    assert found == [1.5] * 16 + [3.75] * 16 + [12.0] * 8


def test_joined_rows_have_whole_blocks_and_one_value_a_block():
    """K = 3 * 16 + 3. The fourth zero point, 4, fills the byte that three left half empty."""
    joined = join_offsets(by_hand())
    assert (joined.shape, joined.offsets) == ((51, 1), None)
    assert joined.zero_points.tolist() == [[0x88, 0x48]]
    assert joined.scales.tolist() == [[1, 2, 4, 0.25]]
    assert joined.dequantize()[48:, 0].tolist() == [0.5, -0.25, 0]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("zero_points", [True, False])
def test_what_was_joined_is_split_again(length, zero_points):
    tensor = folded(length, zero_points=zero_points)
    found = split_offsets(join_offsets(tensor), length)
    np.testing.assert_array_equal(found.dequantize(), tensor.dequantize())
    np.testing.assert_array_equal(found.unpacked_offsets(), tensor.unpacked_offsets())
    assert found.length == length
    assert (found.zero_points is None) == (not zero_points)


@pytest.mark.parametrize(
    ("blocks", "length", "message"),
    [
        (1, None, "^1 blocks of 16 values can't be blocks with their offsets behind them; the weights are damaged"),
        (18, None, "^18 blocks of 16 values can't be blocks with their offsets behind them"),
        (19, 256, "^17 blocks of 16 values can't hold rows of 256 values exactly"),
    ],
)
def test_other_numbers_of_blocks_are_refused(blocks, length, message):
    """16 blocks have one of offsets, 17 have two: 17 or 19 in all."""
    values, scales = np.zeros((1, blocks, 8), np.uint8), np.ones((1, blocks), np.float32)
    with pytest.raises(SourceError, match=message):
        split_offsets(BlockQuantizedTensor(values, scales, blocks * 16, 4), length)


def run(tensor, x, directory, accuracy):
    weights = {NAME: tensor, "layer.bias": np.linspace(-1, 1, tensor.shape[1], dtype=np.float32)}
    emit = Emitter(weights, save_weights(directory, weights), precision=accuracy, epsilon=1e-5)
    product = emit.linear(emit.input("x", "float32", ["rows", tensor.length]), "layer")
    model = emit.build("product", {"y": (product, "float32", ["rows", tensor.shape[1]])})
    ir.save(model, directory / "model.onnx")
    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    found = [session.run(None, {"x": rows})[0] for rows in (x, x[:1], x[2:])]
    return found, ReferenceProducts(weights, accuracy).linear(x, "layer"), model


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("bits", "size", "zero_points"), [(4, 32, True), (4, 16, False), (8, 16, True)])
def test_the_graph_calculates_what_the_reference_does(length, bits, size, zero_points, tmp_path):
    x = np.random.default_rng(1).normal(size=(7, length)).astype(np.float32)
    tensor = folded(length, bits, size, zero_points=zero_points)
    (found, first, last), expected, model = run(tensor, x, tmp_path, f"int{bits}")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert "Gemm" not in {node.op_type for node in model.graph}
    np.testing.assert_array_equal(np.concatenate([first, last]), found[[0, *range(2, 7)]])
    without = ReferenceProducts({NAME: dataclasses.replace(tensor, offsets=None)}, f"int{bits}").linear(x, "layer")
    assert np.abs(without - expected).max() > 1e-3 * np.abs(expected).max()


def test_in_float_the_product_is_that_of_the_values(tmp_path):
    x = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    tensor = folded(40)
    (found, *_), expected, _ = run(tensor, x, tmp_path, "fp32")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    plain = x @ tensor.dequantize() + np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [40, 256])
def test_both_come_back_from_one_array(length, tmp_path):
    tensor = folded(length)
    stored = save_weights(tmp_path, {NAME: tensor})
    assert set(stored) == {NAME, f"{NAME}_scale", f"{NAME}_zero_point"}
    entry = describe_quantization({NAME: tensor}, "int4", []).tensors[NAME]
    assert (entry.offset, entry.zero_point) == (NAME, f"{NAME}_zero_point")
    found = load_weights(tmp_path / WEIGHTS_FILE, {NAME: entry}, {NAME: tensor.shape})[NAME]
    np.testing.assert_array_equal(found.dequantize(), tensor.dequantize())
    np.testing.assert_array_equal(found.unpacked_offsets(), tensor.unpacked_offsets())
    of_whole_blocks = load_weights(tmp_path / WEIGHTS_FILE, {NAME: entry})[NAME]
    np.testing.assert_array_equal(of_whole_blocks.dequantize()[:length], tensor.dequantize())


def test_offsets_of_earlier_files_are_sixteenths_of_a_step(tmp_path):
    arrays = {
        NAME: np.full((1, 2, 8), 0x99, np.uint8),
        f"{NAME}_scale": np.float16([[0.5, 2]]),
        f"{NAME}_offset": np.int8([[3, -16]]),
    }
    save_file(arrays, tmp_path / WEIGHTS_FILE)
    entry = TensorQuantization("uint4", f"{NAME}_scale", "per-block", 16, offset=f"{NAME}_offset")
    found = load_weights(tmp_path / WEIGHTS_FILE, {NAME: entry})[NAME]
    assert found.offsets.tolist() == [[0.5 * 3 / 16, -2]]
    assert found.dequantize()[[0, 16], 0].tolist() == [0.5 + 0.5 * 3 / 16, 0]


def test_outputs_are_chosen_and_joined_with_their_offsets():
    tensor, other = folded(40), folded(40, seed=1)
    np.testing.assert_array_equal(tensor.rows(np.array([3, 0])).dequantize(), tensor.dequantize()[:, [3, 0]])
    beside = concatenate_outputs([tensor, other])
    np.testing.assert_array_equal(beside.dequantize(), np.concatenate([tensor.dequantize(), other.dequantize()], 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"axis": 1}, r"need a matrix \(axis 0\), and to be a table \(axis 1\) without offsets"),
        ({"offsets": dataclasses.replace(folded(3).offsets, axis=0)}, r"need a matrix \(axis 0\), and to be a table"),
        ({"offsets": exact(folded(3))}, r"need a matrix \(axis 0\), and to be a table"),
        ({"offsets": folded(64).offsets}, r"offsets must be a table \[5, 3\] of 4 bits .*, found \[5, 4\] of 4 bits"),
        (
            {"offsets": folded(40, 8).offsets},
            r"a table \[5, 3\] of 4 bits in blocks of 16, .*, found \[5, 3\] of 8 bits",
        ),
        ({"zero_points": None}, r"blocks of 16, zero points: False, found .* of 16, zero points: True"),
    ],
)
def test_offsets_that_do_not_go_behind_the_values_are_refused(wrong, message):
    with pytest.raises(SourceError, match=message):
        dataclasses.replace(folded(40), **wrong)
