"""What onnxruntime's GroupQueryAttention accepts on a CPU, as `edgekit.graph.causal_lm` relies on it."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit.graph.reference_functions import attend, causal_mask, rotate

HEADS, KEY_VALUE_HEADS, HEAD_DIM, CAPACITY = 4, 2, 16, 24
WIDTH = (HEADS + 2 * KEY_VALUE_HEADS) * HEAD_DIM
ANGLES = np.arange(64)[:, None] * 100.0 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
COS, SIN = np.cos(ANGLES).astype(np.float32), np.sin(ANGLES).astype(np.float32)
TEXTS = np.random.default_rng(0).standard_normal((3, 20, WIDTH)).astype(np.float32)


def make_session(head_dim=HEAD_DIM, *, counted=True, rotary=True, **attributes):
    """One node; ``counted``: it is told each row's number of new tokens."""
    width = (HEADS + 2 * KEY_VALUE_HEADS) * head_dim
    cache = ["batch", KEY_VALUE_HEADS, "capacity", head_dim]
    inputs = {
        "qkv": (TensorProto.FLOAT, ["batch", "length", width]),
        "past_key": (TensorProto.FLOAT, cache),
        "past_value": (TensorProto.FLOAT, cache),
        "last": (TensorProto.INT32, ["batch"]),
        "longest": (TensorProto.INT32, []),
        "cos": (TensorProto.FLOAT, ["positions", head_dim // 2]),
        "sin": (TensorProto.FLOAT, ["positions", head_dim // 2]),
        "counts": (TensorProto.INT32, ["batch"]),
    }
    tables = ["cos", "sin"] if rotary else ["", ""]
    names = ["qkv", "", "", "past_key", "past_value", "last", "longest", *tables, *[""] * 7, "counts"]
    node = helper.make_node(
        "GroupQueryAttention",
        names if counted else names[:9],
        ["attended", "present_key", "present_value"],
        domain="com.microsoft",
        **{"num_heads": HEADS, "kv_num_heads": KEY_VALUE_HEADS, "do_rotary": int(rotary)} | attributes,
    )
    used = [name for name in node.input if name]
    graph = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info(name, *inputs[name]) for name in used],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Batch:
    """Rows of one cache, which holds what is not a number wherever nothing has been written."""

    def __init__(self, session, rows, capacity=CAPACITY, *, in_place=True):
        self.session, self.in_place = session, in_place
        shape = (rows, KEY_VALUE_HEADS, capacity, HEAD_DIM)
        self.cache = [np.full(shape, np.nan, np.float32) for _ in range(2)]
        self.lengths = np.zeros(rows, np.int32)

    def run(self, texts, counts, width=None):
        """Feeds the next ``counts`` tokens of each text; returns what each attends to."""
        width = width or max(counts)
        qkv = np.full((len(texts), width, WIDTH), 1e6, np.float32)
        for row, (text, past, count) in enumerate(zip(texts, self.lengths, counts, strict=True)):
            qkv[row, :count] = text[past : past + count]
        arrays = {
            "qkv": qkv,
            "past_key": self.cache[0],
            "past_value": self.cache[1],
            "last": self.lengths + np.array(counts, np.int32) - 1,
            "longest": np.array(self.lengths.max() + width, np.int32),
            "cos": COS,
            "sin": SIN,
            "counts": np.array(counts, np.int32),
        }
        binding = self.session.io_binding()
        values = {port.name: ort.OrtValue.ortvalue_from_numpy(arrays[port.name]) for port in self.session.get_inputs()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("attended")
        for name in ("key", "value"):
            if self.in_place:
                binding.bind_ortvalue_output(f"present_{name}", values[f"past_{name}"])
            else:
                binding.bind_output(f"present_{name}")
        self.session.run_with_iobinding(binding)
        attended, *presents = (value.numpy() for value in binding.get_outputs())
        if not self.in_place:
            self.cache = presents
        self.lengths = self.lengths + np.array(counts, np.int32)
        return [attended[row, :count] for row, count in enumerate(counts)]


def expected(text, start, count, window=None):
    """Attention of ``count`` tokens from ``start``, with all before them."""
    parts = np.split(text[: start + count], [HEADS * HEAD_DIM, (HEADS + KEY_VALUE_HEADS) * HEAD_DIM], axis=1)
    query, key, value = (part.reshape(len(part), -1, HEAD_DIM) for part in parts)
    cos, sin = COS[: start + count], SIN[: start + count]
    query, key = (rotate(heads, cos, sin, interleaved=False) for heads in (query, key))
    return attend(query, key, value, HEAD_DIM**-0.5, causal_mask(start + count, window))[start:]


def assert_right(found, texts, starts, counts):
    for row, (text, start, count) in enumerate(zip(texts, starts, counts, strict=True)):
        np.testing.assert_allclose(found[row], expected(text, start, count), atol=2e-6)


STEPS = {
    "a ragged prompt": [(7, 3, 5)],
    "then single tokens at different positions": [(7, 3, 5), (1, 1, 1), (1, 1, 1)],
    "then ragged chunks behind different pasts": [(7, 3, 5), (2, 6, 1), (4, 1, 3)],
}


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "copied"])
def test_rows_may_have_any_numbers_of_past_and_new_tokens(case, in_place):
    batch = Batch(make_session(), 3, in_place=in_place)
    for counts in STEPS[case]:
        starts = batch.lengths
        assert_right(batch.run(TEXTS, counts), TEXTS, starts, counts)


def test_padding_beyond_the_longest_row_is_ignored():
    batch = Batch(make_session(), 3)
    assert_right(batch.run(TEXTS, (4, 2, 3), width=9), TEXTS, (0, 0, 0), (4, 2, 3))


def test_a_cache_of_just_the_right_length_is_enough():
    batch = Batch(make_session(), 1, capacity=12)
    batch.run(TEXTS[:1], [7])
    assert_right(batch.run(TEXTS[:1], [5]), TEXTS[:1], [7], [5])


def test_a_cache_that_is_too_short_is_refused():
    batch = Batch(make_session(), 1, capacity=6)
    with pytest.raises(RuntimeError, match="GroupQueryAttention"):
        batch.run(TEXTS[:1], [7])


def test_an_empty_past_grows_where_present_is_other_memory():
    batch = Batch(make_session(), 2, capacity=0, in_place=False)
    assert_right(batch.run(TEXTS[:2], (5, 3)), TEXTS[:2], (0, 0), (5, 3))
    assert batch.cache[0].shape == (2, KEY_VALUE_HEADS, 5, HEAD_DIM)
    assert_right(batch.run(TEXTS[:2], (1, 1)), TEXTS[:2], (5, 3), (1, 1))


@pytest.mark.parametrize("window", [1, 4, 6])
def test_a_local_window_counts_the_token_itself(window):
    batch = Batch(make_session(local_window_size=window), 1)
    found = [*batch.run(TEXTS[:1], [9]), *batch.run(TEXTS[:1], [1])]
    np.testing.assert_allclose(np.concatenate(found), expected(TEXTS[0], 0, 10, window), atol=2e-6)


def test_without_counts_only_one_row_goes_on_with_several_tokens():
    session = make_session(counted=False)
    batch = Batch(session, 1)
    batch.run(TEXTS[:1], [7])
    assert_right(batch.run(TEXTS[:1], [5]), TEXTS[:1], [7], [5])
    batch = Batch(session, 2)
    batch.run(TEXTS[:2], [7, 7])
    with pytest.raises(RuntimeError, match="batch_size must be 1 when sequence_length > 1 and past context is given"):
        batch.run(TEXTS[:2], [5, 5])


@pytest.mark.parametrize(
    ("head_dim", "rotary", "accepted"), [(16, True, True), (24, True, False), (24, False, True), (12, False, False)]
)
def test_heads_are_multiples_of_16_with_rotation_and_of_8_without(head_dim, rotary, accepted):
    session = make_session(head_dim, rotary=rotary)
    cache = np.zeros((1, KEY_VALUE_HEADS, 4, head_dim), np.float32)
    feeds = {
        "qkv": np.zeros((1, 2, (HEADS + 2 * KEY_VALUE_HEADS) * head_dim), np.float32),
        "past_key": cache,
        "past_value": cache,
        "last": np.array([1], np.int32),
        "longest": np.array(2, np.int32),
        "counts": np.array([2], np.int32),
    }
    if rotary:
        feeds |= {name: np.ones((8, head_dim // 2), np.float32) for name in ("cos", "sin")}
    if accepted:
        assert session.run(None, feeds)[0].shape == (1, 2, HEADS * head_dim)
    else:
        with pytest.raises(Exception, match="head_size"):
            session.run(None, feeds)
