"""Choosing among a vocabulary's numbers block by block gives what numpy gives over all of them."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgekit.graph.choice import block_length, emit_largest, emit_top
from edgekit.graph.emitter import Emitter

SIZES = (1, 131, 1023, 1024, 5999, 6000, 6007, 58101)  # 6007 is prime: without blocks


def session(size, *, beams):
    emit = Emitter({}, {}, precision="fp32", epsilon=1e-5)
    if not beams:
        x = emit.input("x", "float32", ["rows", size])
        outputs = {"index": (emit_largest(emit, x, size), "int64", ["rows"])}
    else:
        x, count = emit.input("x", "float32", ["batch", "beams", size]), emit.input("count", "int64", [1])
        values, indices = emit_top(emit, x, count, size)
        shape = ["batch", "beams", "count"]
        outputs = {"values": (values, "float32", shape), "indices": (indices, "int64", shape)}
    return ort.InferenceSession(ir.to_proto(emit.build("choice", outputs)).SerializeToString())


@pytest.mark.parametrize(
    ("size", "length"),
    [(6000, 75), (58101, 181), (5999, 857), (6007, None), (1024, 32), (1023, None), (2 * 1031, None)],
)
def test_blocks_divide_a_vocabulary_so_that_least_is_left_to_search(size, length):
    assert block_length(size) == length


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_number_is_found_the_first_of_equals(size):
    random = np.random.default_rng(size)
    x = random.normal(size=(9, size)).astype(np.float32)
    x[1] = 0  # all equal
    x[2] = -1e9
    x[3, [size // 3, size // 2, size - 1]] = 9  # three times the largest
    x[4, 0] = x[5, -1] = 9
    x[6] = -np.inf
    x[7] = np.round(x[7])
    assert session(size, beams=False).run(None, {"x": x})[0].tolist() == x.argmax(axis=1).tolist()


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("count", [1, 2, 8, 100])
def test_the_largest_numbers_are_found_in_order(size, count):
    random = np.random.default_rng(count)
    # No two are equal: their order would be anyone's.
    x = random.permuted(np.tile(np.linspace(-9, 0, size, dtype=np.float32), (2, 3, 1)), axis=-1)
    x[0, 0] = np.sort(x[0, 0])  # all of the best in one block
    values, indices = session(size, beams=True).run(None, {"x": x, "count": np.array([count])})
    expected = np.argsort(-x, axis=-1)[..., :count]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, -1))
