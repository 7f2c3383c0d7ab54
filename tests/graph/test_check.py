"""The check at export: it accepts right graphs and refuses every fault that is built into one here."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import EdgekitError
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph import beam_decoder, decoder, seq2seq
from edgekit.graph.check import check_graphs
from edgekit.graph.emitter import Emitter
from edgekit.graph.seq2seq import write_graphs
from edgekit.graph.tensors import QuantizedTensor
from edgekit.graph.weights_file import WEIGHTS_FILE
from edgekit.quantize.weights import quantize_weights
from tests.bergamot_fixture import make_student
from tests.graph.marian_checkpoints import make_marian, save_marian

REFUSED = r"the (fp32|int8) graph differs from its weights by .* of the logits' spread \(at most .* is expected\); "
# What a weight may be wrong by without the int8 check noticing: it allows for roundings that fall another way.
FAR_OFF = 1.5


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 2, "decoder_layers": 2}
    directory = tmp_path_factory.mktemp("marian")
    return read_marian(read_directory(save_marian(make_marian(scale_embedding=True, **sizes), directory), "tiny"))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    directory = tmp_path_factory.mktemp("student")
    make_student(directory, vocab=150, d=32, ffn=64, encoder_layers=2, decoder_layers=2, heads=2)
    return read_bergamot(read_directory(directory, "tiny"))


@pytest.fixture(params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.fixture(params=["marian", "student"])
def model(request):
    return request.getfixturevalue(request.param)


def in_precision(model, precision):
    return quantize_weights(model.weights) if precision == "int8" else dict(model.weights)


def build_and_check(directory, model, precision, weights=None, **config):
    """Writes graphs from ``weights`` and a changed configuration, and checks them against the model's own."""
    right = in_precision(model, precision)
    write_graphs(directory, dataclasses.replace(model.config, **config), weights or right, precision)
    return check_graphs(directory, model.config, right, precision)


def test_right_graphs_pass_with_room_to_spare(model, precision, tmp_path):
    assert build_and_check(tmp_path, model, precision) < 1e-4


def test_nothing_is_left_behind(model, precision, tmp_path):
    build_and_check(tmp_path, model, precision)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "beam_decoder.onnx",
        "decoder.onnx",
        "encoder.onnx",
        WEIGHTS_FILE,
    ]


WRONG_CONFIGURATIONS = {
    "embed scale forgotten": {"embed_scale": 1.0},
    "heads of another width": {"encoder_attention_heads": 4},
    "another activation": {"activation_function": "swish"},
    "epsilon of another size": {"layer_norm_epsilon": 0.5},
}


@pytest.mark.parametrize("fault", WRONG_CONFIGURATIONS)
def test_a_graph_of_another_configuration_is_refused(fault, model, precision, tmp_path):
    changed = WRONG_CONFIGURATIONS[fault]
    if model.config.activation_function == "swish":
        changed = changed | {"activation_function": "relu"}
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision, **changed)


def replaced(weights, name, change):
    """The weights with one tensor changed: its int8 values, or its floats."""
    tensor = weights[name]
    if isinstance(tensor, QuantizedTensor):
        values = change(tensor.values.astype(np.float32)).clip(-127, 127).astype(np.int8)
        return weights | {name: QuantizedTensor(np.ascontiguousarray(values), tensor.scale, tensor.axis)}
    return weights | {name: np.ascontiguousarray(change(tensor), dtype=np.float32)}


CHANGES = {
    "scaled": lambda tensor: tensor * 0.5,
    "of the wrong sign": lambda tensor: -tensor,
    "with rows in another order": lambda tensor: np.roll(tensor, 1, axis=0),
}
MATRICES = {
    "source_embedding.weight": "with rows in another order",
    "encoder.layers.0.self_attention.qkv.weight": "scaled",
    "encoder.layers.1.self_attention.output.weight": "of the wrong sign",
    "encoder.layers.0.feed_forward.up.weight": "scaled",
    "decoder.layers.1.cross_attention.key_value.weight": "with rows in another order",
    "decoder.layers.0.cross_attention.query.weight": "of the wrong sign",
    "decoder.layers.0.cross_attention.output.weight": "scaled",
    "decoder.layers.1.feed_forward.down.weight": "with rows in another order",
    "positions.weight": "scaled",
}
VECTORS = (
    "encoder.layers.0.feed_forward.norm.weight",
    "encoder.layers.1.self_attention.qkv.bias",
    "decoder.layers.0.cross_attention.norm.weight",
    "decoder.layers.1.feed_forward.up.bias",
)


@pytest.mark.parametrize(("name", "change"), MATRICES.items())
def test_a_matrix_that_is_wrong_in_the_graph_is_refused(name, change, model, precision, tmp_path):
    wrong = replaced(in_precision(model, precision), name, CHANGES[change])
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision, weights=wrong)


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_that_is_wrong_in_the_graph_is_refused(name, model, precision, tmp_path):
    wrong = replaced(in_precision(model, precision), name, lambda tensor: tensor + FAR_OFF)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision, weights=wrong)


def dropping_bias(layer):
    def fault(monkeypatch):
        has = Emitter.has
        monkeypatch.setattr(Emitter, "has", lambda self, name: name != f"{layer}.bias" and has(self, name))

    return fault


def swapping_halves(axis):
    """Whatever is split in two along ``axis`` comes out the other way round: gate and candidate, keys and values."""

    def fault(monkeypatch):
        ops = Emitter.ops

        def swapped(self, op_type, *inputs, outputs, **attributes):
            found = ops(self, op_type, *inputs, outputs=outputs, **attributes)
            return found[::-1] if (op_type, outputs, attributes["axis"]) == ("Split", 2, axis) else found

        monkeypatch.setattr(
            Emitter,
            "ops",
            lambda self, op_type, *inputs, **attributes: (swapped if op_type == "Split" else ops)(
                self, op_type, *inputs, **attributes
            ),
        )

    return fault


def choosing_the_worst(monkeypatch):
    op = Emitter.op
    names = {"ArgMax": "ArgMin"}
    monkeypatch.setattr(
        Emitter, "op", lambda self, op_type, *inputs, **rest: op(self, names.get(op_type, op_type), *inputs, **rest)
    )


def ignoring_the_mask(monkeypatch):
    op = Emitter.op

    def without_mask(self, op_type, *inputs, **attributes):
        return op(self, op_type, *(inputs[:4] if op_type == "MultiHeadAttention" else inputs), **attributes)

    monkeypatch.setattr(Emitter, "op", without_mask)


def forgetting_the_residual(monkeypatch):
    add_norm = Emitter.add_norm

    def without_residual(self, x, residual, norm, bias=None):
        return add_norm(self, x, self.op("Sub", residual, residual), norm, bias)

    monkeypatch.setattr(Emitter, "add_norm", without_residual)


def carrying_no_state(monkeypatch):
    for name in ("ssru", "_self_attention"):
        cell = getattr(decoder, name)

        def stateless(emit, config, x, layer, *lengths, cell=cell):
            x, presents = cell(emit, config, x, layer, *lengths)
            return x, {key: (emit.op("Sub", v, v), *rest) for key, (v, *rest) in presents.items()}

        monkeypatch.setattr(decoder, name, stateless)


FAULTS = {
    "bias of a product dropped": dropping_bias("encoder.layers.0.feed_forward.up"),
    "bias before a norm dropped": dropping_bias("decoder.layers.1.cross_attention.output"),
    "keys and values swapped": swapping_halves(1),
    "the least likely id chosen": choosing_the_worst,
    "padding attended to": ignoring_the_mask,
    "residual forgotten": forgetting_the_residual,
    "state not carried over": carrying_no_state,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_graph_builder_is_refused(fault, model, precision, tmp_path, monkeypatch):
    FAULTS[fault](monkeypatch)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision)


def test_a_fault_of_the_decoder_that_shows_no_logits_is_refused(model, precision, tmp_path, monkeypatch):
    """The logits come from a decoder built for the check; the one that the bundle keeps must choose the same ids."""
    build = seq2seq.build_decoder

    def worst_unless_checked(*arguments, output_logits=False):
        with monkeypatch.context() as patched:
            if not output_logits:
                choosing_the_worst(patched)
            return build(*arguments, output_logits=output_logits)

    monkeypatch.setattr(seq2seq, "build_decoder", worst_unless_checked)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision)


def beams_without_state(monkeypatch):
    for name in ("ssru", "_self_attention"):
        cell = getattr(beam_decoder, name)

        def stateless(emit, config, x, layer, *inputs, cell=cell):
            x, presents = cell(emit, config, x, layer, *inputs)
            return x, {key: (emit.op("Sub", v, v), *rest) for key, (v, *rest) in presents.items()}

        monkeypatch.setattr(beam_decoder, name, stateless)


def beams_of_the_least_likely(monkeypatch):
    ops = Emitter.ops
    monkeypatch.setattr(
        Emitter,
        "ops",
        lambda self, op_type, *inputs, **rest: ops(
            self, op_type, *inputs, **rest, **({"largest": 0} if op_type == "TopK" else {})
        ),
    )


def beams_without_normaliser(monkeypatch):
    op = Emitter.op
    monkeypatch.setattr(
        Emitter,
        "op",
        lambda self, op_type, *inputs, **rest: (
            op(self, "Identity", *inputs) if op_type == "LogSoftmax" else op(self, op_type, *inputs, **rest)
        ),
    )


def beams_that_ignore_ancestors(monkeypatch):
    """Each beam finds its own place's past; a recurrent state has no ancestors, but a direction."""
    cell, ssru = beam_decoder._self_attention, beam_decoder.ssru

    def own_past(emit, config, x, layer, cache, bias):
        *lengths, ancestors = cache
        return cell(emit, config, x, layer, (*lengths, emit.op("Sub", ancestors, ancestors)), bias)

    def turned(emit, config, x, layer, rows):
        x, presents = ssru(emit, config, x, layer, rows)
        turned = {key: (emit.op("Neg", value), *rest) for key, (value, *rest) in presents.items()}
        return x, turned

    monkeypatch.setattr(beam_decoder, "_self_attention", own_past)
    monkeypatch.setattr(beam_decoder, "ssru", turned)


BEAM_FAULTS = {
    "state not carried over": beams_without_state,
    "the least likely continuations": beams_of_the_least_likely,
    "logits in place of log-probabilities": beams_without_normaliser,
    "another beam's past": beams_that_ignore_ancestors,
}


@pytest.mark.parametrize("fault", BEAM_FAULTS)
def test_a_fault_of_beam_searchs_decoder_alone_is_refused(fault, model, precision, tmp_path, monkeypatch):
    build = seq2seq.build_beam_decoder

    def faulty(*arguments):
        with monkeypatch.context() as patched:
            BEAM_FAULTS[fault](patched)
            return build(*arguments)

    monkeypatch.setattr(seq2seq, "build_beam_decoder", faulty)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, model, precision)


def test_swapped_gate_and_candidate_are_refused(student, precision, tmp_path, monkeypatch):
    swapping_halves(1)(monkeypatch)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, student, precision)


def test_a_bias_added_before_the_rows_scale_is_refused(marian, tmp_path, monkeypatch):
    """What onnxruntime 1.32 makes of MatMulIntegerToFloat with a scale a row and a bias."""
    integer_product = Emitter._integer_product

    def fused_bias(self, x, layer, name, bias, transposed):
        product, _ = integer_product(self, x, layer, name, None, transposed)
        if bias is None:
            return product, None
        scale = self._quantized_rows[x][1]
        return self.op("Add", product, self.op("Mul", bias, scale)), None

    monkeypatch.setattr(Emitter, "_integer_product", fused_bias)
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, marian, "int8")


def test_logits_that_are_no_numbers_are_refused(marian, precision, tmp_path):
    wrong = in_precision(marian, precision) | {"output.bias": np.full(131, np.nan, np.float32)}
    with pytest.raises(EdgekitError, match=REFUSED):
        build_and_check(tmp_path, marian, precision, weights=wrong)
