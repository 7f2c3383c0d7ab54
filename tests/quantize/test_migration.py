"""Moving scale from inputs into weights: hand-worked factors, the same function afterwards, refusals by name."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.export.read_marian import read_marian
from edgekit.export.read_seq2seq import read_seq2seq
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.causal_lm_reference import CausalLMReference
from edgekit.graph.reference import Reference
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.calibration import ProductInputs
from edgekit.quantize.int8 import quantize_per_channel
from edgekit.quantize.migration import Absorber, awq_factors, migrate, smoothquant_factors
from edgekit.quantize.scheme import ChannelFormat, Scheme, named_scheme
from tests.graph.causal_lm_checkpoints import VOCAB, make_gemma3, make_gpt2, make_llama, make_qwen3
from tests.graph.marian_checkpoints import make_marian, save_marian
from tests.graph.seq2seq_checkpoints import make_seq2seq, save_seq2seq
from tests.quantize.random_calibration import calibration_of

SMOOTH = ChannelFormat("static", smoothing=0.5)
RANDOM = np.random.default_rng(3)


def test_hand_worked_smoothquant_factors():
    """The example of the paper's figure 5: alpha a half, inputs up to 16 and weights up to 1 give 4."""
    largest_input, largest_weight = np.array([16.0, 1, 2, 0, 5], np.float32), np.array([1.0, 4, 2, 3, 0], np.float32)
    np.testing.assert_allclose(smoothquant_factors(largest_input, largest_weight, 0.5), [4, 0.5, 1, 1, 1])
    np.testing.assert_allclose(smoothquant_factors(largest_input, largest_weight, 1.0), [16, 1, 2, 1, 1])
    np.testing.assert_allclose(smoothquant_factors(largest_input, largest_weight, 0.0), [1, 0.25, 0.5, 1, 1])


def test_hand_worked_awq_factors():
    """One input is 100 times as large as those that share its block: finer steps for its weights lessen the error."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(32, 8)).astype(np.float32)
    sample = random.normal(size=(64, 32)).astype(np.float32)
    sample[:, 5] *= 100
    mean = np.abs(sample).mean(axis=0)
    inputs = ProductInputs(64, np.abs(sample).max(axis=0), mean, np.square(sample).mean(axis=0), sample)
    factors = awq_factors(BlockFormat(4, 32), matrix, inputs, Absorber(("norm.weight",)))
    alpha = np.log(factors[5] / factors[0]) / np.log(mean[5] / mean[0])
    assert round(float(alpha), 3) in np.round(np.linspace(0.1, 1, 10), 3)
    assert np.sqrt(factors.max() * factors.min()) == pytest.approx(1, rel=1e-5)


def test_inputs_alike_need_no_awq():
    matrix = np.linspace(-1, 1, 128, dtype=np.float32).reshape(32, 4)
    sample = np.ones((4, 32), np.float32)
    inputs = ProductInputs(4, sample[0], sample[0], sample[0], sample)
    np.testing.assert_array_equal(awq_factors(BlockFormat(4, 32), matrix, inputs, Absorber(("n",))), np.ones(32))


def test_heads_that_share_a_value_share_its_factors():
    absorber = Absorber(("qkv.weight",), heads=2, head_dim=2)
    per_input = np.array([1, 2, 3, 4, 5, 6, 9, 8], np.float32)  # heads 0 and 1 share a value, 2 and 3 another
    assert absorber.shared(per_input, np.max).tolist() == [3, 4, 9, 8]
    assert absorber.spread(np.array([3, 4, 9, 8], np.float32)).tolist() == [3, 4, 3, 4, 9, 8, 9, 8]


@pytest.fixture(scope="module", params=["relu", "swish"])
def marian(request, tmp_path_factory):
    model = make_marian(activation_function=request.param, encoder_layers=2, decoder_layers=2)
    return read_marian(read_directory(save_marian(model, tmp_path_factory.mktemp("marian")), "tiny"))


def test_a_smoothed_translation_model_is_the_same_function(marian):
    scheme = Scheme(None, (("*attention.output.weight", SMOOTH),))
    if marian.config.activation_function == "relu":
        scheme = named_scheme("seq2seq", "int8-smooth")
    calibration = calibration_of(marian.weights)
    migrated, after = migrate(marian.config, marian.weights, scheme, calibration)
    source, target = RANDOM.integers(0, 100, (2, 9))
    expected, found = (Reference(marian.config, w, "fp32").logits(source, target) for w in (marian.weights, migrated))
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())
    changed = {name for name in migrated if not np.array_equal(migrated[name], marian.weights[name])}
    assert {
        "encoder.layers.1.self_attention.output.weight",
        "decoder.layers.0.cross_attention.key_value.bias",
    } < changed
    assert ("encoder.layers.1.feed_forward.up.weight" in changed) == (marian.config.activation_function == "relu")
    name = "decoder.layers.1.self_attention.output.weight"
    factors = calibration.inputs[name].largest / after.inputs[name].largest
    np.testing.assert_allclose(migrated[name], marian.weights[name] * factors[:, None], rtol=1e-4)


@pytest.mark.parametrize("make", [make_llama, make_qwen3, make_gemma3])
@pytest.mark.parametrize("name", ["int8-smooth", "int8-smooth-blocks", "int4-awq"])
def test_a_migrated_decoder_only_model_is_the_same_function(make, name):
    case = make()
    migrated, _ = migrate(case.config, case.weights, named_scheme("causal-lm", name), calibration_of(case.weights))
    ids = RANDOM.integers(0, VOCAB, 12)
    expected, found = (CausalLMReference(case.config, w, "fp32").logits(ids) for w in (case.weights, migrated))
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.std())
    changed = [name for name in migrated if not np.array_equal(migrated[name], case.weights[name])]
    assert any(name.endswith("gate_up.weight") for name in changed)
    assert any(name.endswith("attention.output.weight") for name in changed)


@pytest.mark.parametrize(
    ("model_type", "options", "absorbing"),
    [
        ("m2m_100", {}, {"encoder.layers.0.self_attention.norm.bias", "decoder.layers.1.cross_attention.norm.weight"}),
        (
            "t5",
            {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "d_kv": 16, "num_heads": 3},
            {"encoder.layers.1.feed_forward.gate_up.weight", "decoder.final_norm.weight"},
        ),
    ],
)
def test_a_smoothed_pre_norm_translation_model_is_the_same_function(model_type, options, absorbing, tmp_path):
    variant = "nllb" if model_type == "m2m_100" else ""
    save_seq2seq(make_seq2seq(model_type, **options), tmp_path, variant=variant)
    model = read_seq2seq(read_directory(tmp_path, "tiny"))
    exceptions = [(pattern, None) for pattern in ("*embedding.weight", "*key_value.weight", "*positions.weight")]
    if model_type == "m2m_100":
        exceptions.append(("*.down.weight", None))  # behind a ReLU or not: its configuration's choice
    migrated, _ = migrate(model.config, model.weights, Scheme(SMOOTH, tuple(exceptions)), calibration_of(model.weights))
    source, target = RANDOM.integers(3, 100, (2, 9))
    expected, found = (Reference(model.config, w, "fp32").logits(source, target) for w in (model.weights, migrated))
    np.testing.assert_allclose(found, expected, atol=3e-4 * expected.std())
    assert absorbing <= {name for name in migrated if not np.array_equal(migrated[name], model.weights[name])}
    refused(model.config, model.weights, "*key_value.weight", "every layer of the decoder has the same input")


def test_weights_given_are_not_changed(marian):
    before = {name: tensor.copy() for name, tensor in marian.weights.items()}
    migrate(marian.config, marian.weights, Scheme(None, (("*n.output.weight", SMOOTH),)), calibration_of(before))
    assert all(np.array_equal(tensor, before[name]) for name, tensor in marian.weights.items())


def test_schemes_without_migration_change_nothing(marian):
    calibration = calibration_of(marian.weights)
    migrated = migrate(marian.config, marian.weights, named_scheme("seq2seq", "int8-static"), calibration)
    assert migrated == (marian.weights, calibration)


def refused(config, weights, pattern, message, named=SMOOTH):
    with pytest.raises(UnsupportedError, match=message):
        migrate(config, weights, Scheme(None, ((pattern, named),)), calibration_of(weights))


def test_what_nothing_can_undo_is_refused_by_name(marian):
    config, weights = marian.config, marian.weights
    for pattern in ("encoder.layers.0.self_attention.qkv.weight", "decoder.layers.1.cross_attention.query.weight"):
        refused(
            config, weights, pattern, rf"^the inputs of {pattern} \(the norm before it is the residual too\) can't be"
        )
    if config.activation_function == "swish":
        message = (
            r"encoder\.layers\.1\.feed_forward\.down\.weight \(swish before it lets no factor pass\) can't be scaled"
        )
        refused(config, weights, "*encoder.layers.1.feed_forward.down.weight", message)


def test_a_gelu_and_a_tied_embedding_are_refused_by_name():
    case = make_gpt2()
    message = r"feed_forward\.down\.weight \(gelu_tanh before it lets no factor pass\).*; choose a scheme that doesn't"
    refused(case.config, case.weights, "*.down.weight", message)
    message = r"^the inputs of embedding\.weight \(it is the embedding too\) can't be scaled exactly"
    refused(case.config, case.weights, "embedding.weight", message)


def test_many_refusals_are_counted(marian):
    message = r"\), .*\), .*\), .*\) and \d+ more can't be scaled exactly"
    refused(marian.config, marian.weights, "*layers*", message)


def test_weights_that_a_checkpoint_ships_quantised_are_refused_by_name(marian):
    name = "encoder.layers.0.self_attention.output.weight"
    weights = dict(marian.weights)
    calibration = calibration_of(weights)
    weights[name] = quantize_per_channel(weights[name], 1)
    with pytest.raises(
        UnsupportedError, match=rf"{name} \(the checkpoint ships it quantised\) can't be scaled exactly"
    ):
        migrate(marian.config, weights, Scheme(None, ((name, SMOOTH),)), calibration)
    qkv = name.replace("output", "qkv")
    weights = {**marian.weights, qkv: quantize_per_channel(marian.weights[qkv], 1)}
    with pytest.raises(UnsupportedError, match=r"\(the checkpoint ships .*\.qkv quantised\) can't be scaled exactly"):
        migrate(marian.config, weights, Scheme(None, ((name, SMOOTH),)), calibration)


def test_an_untied_output_layer_takes_its_factors_from_the_last_norm():
    case = make_llama(tie_word_embeddings=False)
    assert not case.config.tied_output
    calibration = calibration_of(case.weights)
    migrated, _ = migrate(case.config, case.weights, Scheme(None, (("output.weight", SMOOTH),)), calibration)
    expected = smoothquant_factors(
        calibration.inputs["output.weight"].largest, np.abs(case.weights["output.weight"]).max(axis=0), 0.5
    )
    np.testing.assert_allclose(migrated["final_norm.weight"], case.weights["final_norm.weight"] / expected, rtol=1e-5)
    ids = RANDOM.integers(0, VOCAB, 12)
    logits, found = (CausalLMReference(case.config, w, "fp32").logits(ids) for w in (case.weights, migrated))
    np.testing.assert_allclose(found, logits, atol=1e-4 * logits.std())


def test_smoothed_blocks_have_smoothquant_factors():
    """One channel is 50 times as large as the others of its block: most of that moves into the weights."""
    case = make_llama()
    name = "layers.0.attention.qkv.weight"
    scheme = Scheme(None, ((name, named_scheme("causal-lm", "int8-smooth-blocks").format_of(name)),))
    calibration = calibration_of(case.weights)
    sample = np.ones_like(calibration.inputs[name].sample)
    sample[:, 5] = 50
    inputs = ProductInputs(8, sample[0], sample[0], sample[0] ** 2, sample)
    calibration = dataclasses.replace(calibration, inputs={**calibration.inputs, name: inputs})
    migrated, after = migrate(case.config, case.weights, scheme, calibration)
    assert after is not None
    expected = smoothquant_factors(inputs.largest, np.abs(case.weights[name]).max(axis=1), 0.7)
    norm = "layers.0.attention.norm.weight"
    np.testing.assert_allclose(migrated[norm], case.weights[norm] / expected, rtol=1e-6)
    np.testing.assert_allclose(after.inputs[name].largest, inputs.largest / expected, rtol=1e-6)
    assert after.inputs[name].largest.max() < 10 * np.median(after.inputs[name].largest)


def test_a_factor_of_one_leaves_every_bit():
    case = make_llama()
    calibration = calibration_of(case.weights)
    ones = dataclasses.replace(
        calibration,
        inputs={
            name: dataclasses.replace(i, mean_absolute=np.ones_like(i.mean_absolute))
            for name, i in calibration.inputs.items()
        },
    )
    migrated, _ = migrate(case.config, case.weights, named_scheme("causal-lm", "int4-awq"), ones)
    assert all(np.array_equal(migrated[name], case.weights[name]) for name in migrated)
