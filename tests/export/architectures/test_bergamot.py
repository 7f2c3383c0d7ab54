"""The weight map and the options of Bergamot students: what is carried over, and what is refused by name."""

import math

import numpy as np
import pytest

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures import bergamot
from edgekit.export.sources.marian_binary import read_marian_binary
from edgekit.graph.tensors import QuantizedTensor
from tests.bergamot_fixture import make_student

VOCAB, D, FFN = 100, 8, 12


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared")
    return read_marian_binary(
        make_student(directory, vocab=VOCAB, d=D, ffn=FFN, encoder_layers=1, decoder_layers=1, heads=2).model
    )


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("separate")
    sizes = {"vocab": VOCAB, "d": D, "ffn": FFN, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}
    return read_marian_binary(make_student(directory, **sizes, separate_vocab=True).model)


def read(binary, tensors=None, **options):
    tensors = binary.tensors if tensors is None else tensors
    config = bergamot.read_config(binary.config | options, tensors, shortlist=False)
    return config, bergamot.map_weights(config, tensors)


def test_configuration_has_a_row_more_for_the_zero_vector_that_starts_the_decoder(shared):
    config, weights = read(shared)
    assert (config.source_vocab_size, config.target_vocab_size) == (VOCAB + 1, VOCAB + 1)
    assert config.embed_scale == math.sqrt(D)
    assert (config.decoder_cell, config.activation_function) == ("ssru", "relu")
    assert config.layer_norm_epsilon == 1e-6
    table = weights["source_embedding.weight"]
    np.testing.assert_array_equal(table.values[:-1], shared.tensors["Wemb"].values)
    assert not table.values[-1].any()
    assert table.scale == shared.tensors["Wemb"].scale


def test_with_separate_vocabularies_only_the_target_has_the_row(separate):
    config, weights = read(separate)
    assert (config.source_vocab_size, config.target_vocab_size) == (VOCAB, VOCAB + 1)
    assert weights["source_embedding.weight"].shape == (VOCAB, D)
    assert weights["target_embedding.weight"].shape == (VOCAB + 1, D)
    assert config.output_weight == "target_embedding.weight"


def test_int8_values_and_scales_are_carried_over_untouched(shared):
    weights = read(shared)[1]
    tensors = shared.tensors
    one = weights["encoder.layers.0.feed_forward.up.weight"]
    np.testing.assert_array_equal(one.values, tensors["encoder_l1_ffn_W1"].values)
    assert one.axis is None
    assert one.scale == tensors["encoder_l1_ffn_W1"].scale
    joined = weights["decoder.layers.0.ssru.candidate_gate.weight"]
    parts = [tensors[f"decoder_l1_rnn_{name}"] for name in ("W", "Wf")]
    np.testing.assert_array_equal(joined.values, np.hstack([part.values for part in parts]))
    assert joined.axis == 1
    assert joined.scale.tolist() == [float(parts[0].scale)] * D + [float(parts[1].scale)] * D


def test_every_matrix_stays_int8_and_everything_else_float32(shared):
    weights = read(shared)[1]
    matrices = {name for name in weights if name.endswith(".weight") and ".norm." not in name} - {"positions.weight"}
    assert {name for name, tensor in weights.items() if isinstance(tensor, QuantizedTensor)} == matrices
    assert {weights[name].dtype for name in weights.keys() - matrices} == {np.dtype(np.float32)}


def test_candidate_has_no_bias_and_the_gate_its_own(shared):
    bias = read(shared)[1]["decoder.layers.0.ssru.candidate_gate.bias"]
    assert bias[:D].tolist() == [0.0] * D
    np.testing.assert_array_equal(bias[D:], shared.tensors["decoder_l1_rnn_bf"][0])


def test_joined_products_take_the_widest_activation_step(shared):
    tensors = dict(shared.tensors)
    for part, alpha in zip("qkv", (40.0, 20.0, 30.0), strict=True):
        tensors[f"encoder_l1_self_W{part}_QuantMultA"] = np.array(alpha, np.float32)
    weights = read(shared, tensors)[1]
    assert weights["encoder.layers.0.self_attention.qkv.activation_scale"] == np.float32(1 / 20)
    alpha = shared.tensors["Wemb_QuantMultA"]
    assert weights["output.activation_scale"] == np.float32(1 / float(alpha))


def test_a_model_without_activation_scales_has_none(shared):
    tensors = {name: tensor for name, tensor in shared.tensors.items() if not name.endswith("_QuantMultA")}
    assert not [name for name in read(shared, tensors)[1] if name.endswith("activation_scale")]


def test_unk_and_the_zero_row_can_not_win(shared):
    bias = read(shared)[1]["output.bias"]
    assert bias[[bergamot.UNK_TOKEN_ID, VOCAB]].tolist() == [-1e9, -1e9]
    np.testing.assert_array_equal(bias[2:VOCAB], shared.tensors["decoder_ff_logit_out_b"][0, 2:])
    assert bias[0] == shared.tensors["decoder_ff_logit_out_b"][0, 0]


def test_positions_of_a_tiny_student_have_the_published_golden_values():
    # PE(1) of firefox-en-pt, 256 wide.
    table = bergamot.sinusoids(3, 256)
    np.testing.assert_allclose(table[1, :3], [0.84147, 0.80165, 0.76108], atol=5e-6)
    np.testing.assert_allclose(table[1, 128:131], [0.5403, 0.5978, 0.64865], atol=5e-6)
    np.testing.assert_array_equal(table[0], [0] * 128 + [1] * 128)


def test_positions_worked_by_hand():
    # Width 4: h = 2, rates exp(0) = 1 and exp(-ln 10000) = 1/10000.
    expected = [math.sin(2), math.sin(0.0002), math.cos(2), math.cos(0.0002)]
    np.testing.assert_allclose(bergamot.sinusoids(3, 4)[2], expected, atol=1e-7)


UNSUPPORTED = {
    "type": "amun",
    "transformer-ffn-depth": 3,
    "transformer-ffn-activation": "swish",
    "transformer-decoder-autoreg": "self-attention",
    "dec-cell": "gru",
    "transformer-preprocess": "n",
    "transformer-postprocess": "da",
    "transformer-postprocess-emb": "n",
    "transformer-postprocess-top": "n",
    "transformer-no-projection": True,
    "transformer-train-position-embeddings": True,
    "transformer-tied-layers": [1, 1],
    "output-omit-bias": True,
    "layer-normalization": True,
    "lemma-dim-emb": 16,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_option_is_refused_by_name(shared, name):
    with pytest.raises(UnsupportedError, match=f"this Marian model is not a Bergamot student: {name}="):
        read(shared, **{name: UNSUPPORTED[name]})


def test_all_unsupported_options_are_in_one_message(shared):
    assert UNSUPPORTED.keys() == bergamot.REQUIRED.keys()
    with pytest.raises(UnsupportedError) as caught:
        read(shared, **UNSUPPORTED)
    assert [
        name for name, value in UNSUPPORTED.items() if f"{name}={value!r} (expected " not in str(caught.value)
    ] == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dim-emb": "8", "enc-depth": 0}, "dim-emb='8', enc-depth=0"),
        ({"transformer-heads": None}, "transformer-heads=None"),
        ({"dec-depth": True}, "dec-depth=True"),
        ({"transformer-dim-ffn": 2.5}, "transformer-dim-ffn=2.5"),
        ({"dim-emb": 2}, r"dim-emb=2 \(expected 4, 6, 8"),
        ({"dim-emb": 9}, r"dim-emb=9 \(expected 4, 6, 8"),
        ({"transformer-heads": 3}, "encoder_attention_heads=3 does not divide d_model=8"),
    ],
)
def test_sizes_that_are_none_are_refused(shared, options, named):
    with pytest.raises((SourceError, UnsupportedError), match=named):
        read(shared, **options)


@pytest.mark.parametrize("option", ["dim-emb", "transformer-dim-ffn", "enc-depth", "dec-depth"])
@pytest.mark.parametrize("number", [16, 1 << 40])
def test_sizes_that_the_items_do_not_bear_out_are_refused_without_making_room_for_them(shared, option, number):
    with pytest.raises(SourceError, match=f"don't fit its options: .*({number}|is missing)"):
        read(shared, **{option: number})


def test_all_misfits_are_in_one_message(shared):
    tensors = dict(shared.tensors)
    del tensors["encoder_l1_self_Wk"]
    tensors["encoder_l1_ffn_b1"] = np.zeros((1, 3), np.float32)
    tensors["encoder_l1_ffn_b2"] = QuantizedTensor(np.zeros((1, D), np.int8), np.array(1, np.float32))
    with pytest.raises(SourceError) as caught:
        read(shared, tensors)
    assert str(caught.value) == (
        "the Marian model's tensors don't fit its options: encoder_l1_self_Wk is missing; "
        "encoder_l1_ffn_b1 is [1, 3], expected [1, 12]; encoder_l1_ffn_b2 is int8, expected float32"
    )


@pytest.mark.parametrize("name", ["decoder_ff_logit_out_W", "encoder_l2_self_Wq", "decoder_l1_self_Wq"])
def test_items_that_no_student_has_are_refused(shared, name):
    """An output layer of its own, for one: taking it for tied would translate, and wrongly."""
    with pytest.raises(SourceError, match=f"{name} belongs to no layer of a student"):
        read(shared, dict(shared.tensors) | {name: np.zeros((D, D), np.float32)})


def test_a_model_without_embeddings_is_refused(shared):
    tensors = {name: tensor for name, tensor in shared.tensors.items() if name != "Wemb"}
    with pytest.raises(SourceError, match="neither Wemb nor encoder_Wemb and decoder_Wemb"):
        read(shared, tensors)


def test_float_items_of_an_unquantised_student_are_taken_as_they_are(shared):
    tensors = {
        name: tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor
        for name, tensor in shared.tensors.items()
    }
    weights = read(shared, tensors)[1]
    assert not [name for name, tensor in weights.items() if isinstance(tensor, QuantizedTensor)]
    np.testing.assert_array_equal(
        weights["decoder.layers.0.cross_attention.key_value.weight"],
        np.hstack([tensors["decoder_l1_context_Wk"], tensors["decoder_l1_context_Wv"]]),
    )
    assert not weights["source_embedding.weight"][-1].any()
