"""A bundle of each named scheme: it passes its check, says how each product works, and is read back as it was."""

import dataclasses
import functools
import re

import numpy as np
import pytest

import edgekit
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError, UnsupportedError
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor
from edgekit.graph.weights_file import load_weights
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.scheme import SCHEMES, ChannelFormat, Scheme, named_scheme
from edgekit.quantize.weights import quantize_weights
from tests.bergamot_fixture import make_student
from tests.graph.marian_checkpoints import make_marian, save_marian

QKV, TABLE = "encoder.layers.1.self_attention.qkv.weight", "source_embedding.weight"
TEXTS = ["en pt en", "pt", "en en en pt en", "en pt pt"]


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    directory = tmp_path_factory.mktemp("marian")
    save_marian(make_marian(d_model=32, encoder_layers=2, activation_function="relu"), directory / "model")
    return export_checkpoint(read_directory(directory / "model", "tiny"), "fp32", directory / "fp32")


@pytest.fixture(scope="module")
def calibration(fp32):
    return calibrate(fp32, TEXTS)


def made(fp32, calibration, scheme, tmp_path):
    if isinstance(scheme, str):
        scheme = named_scheme("seq2seq", scheme)
    return open_bundle(quantize_bundle(fp32, output=tmp_path / "out", scheme=scheme, calibration=calibration))


@pytest.fixture(scope="module")
def named(fp32, calibration, tmp_path_factory):
    """Gives the bundle of a named scheme, made once."""
    return functools.cache(lambda name: made(fp32, calibration, name, tmp_path_factory.mktemp(name)))


def weights_of(bundle):
    return load_weights(bundle.path_of("weights.safetensors"), bundle.manifest.quantization.tensors)


EXPECTED = {
    "int8": ("dynamic per row", "per-row", QuantizedTensor),
    "int8-dynamic": ("dynamic per row", "per-row", QuantizedTensor),
    "int8-static": ("static", "static", QuantizedTensor),
    "int8-smooth": ("static", "static", QuantizedTensor),
    "int8-blocks": ("dynamic per block", "per-block", BlockQuantizedTensor),
    "int8-weights": (None, "float", QuantizedTensor),
}


def test_every_named_scheme_is_tried():
    assert {"fp32", *EXPECTED} == set(SCHEMES["seq2seq"])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bundle_says_how_each_product_works(name, named):
    bundle = named(name)
    quantization = bundle.manifest.quantization
    activations, of_product, kind = EXPECTED[name]
    assert (bundle.manifest.precision, quantization.scheme, quantization.activations) == ("int8", "int8", activations)
    assert quantization.tensors[QKV].activations == of_product
    assert quantization.tensors[TABLE].activations == of_product  # the output layer is tied to it
    weights = weights_of(bundle)
    assert isinstance(weights[QKV], kind)
    assert getattr(weights[QKV], "weight_only", False) == (name == "int8-weights")
    scales = {entry.activation_scale for entry in quantization.tensors.values()} - {None}
    assert scales == {name for name in weights if name.endswith(".activation_scale")}
    assert bool(scales) == (of_product == "static")


@pytest.mark.parametrize("name", ["int8-static", "int8-smooth", "int8-weights", "int8-blocks"])
def test_translations_are_those_of_the_float_model_or_nearly(name, fp32, named):
    translators = [edgekit.load(path) for path in (fp32, named(name).path)]
    rows = [[*np.random.default_rng(seed).integers(2, 100, 9).tolist(), 0] for seed in range(12)]
    first = [[ids[:1] for ids in translator.generate_ids(rows)] for translator in translators]
    assert sum(one == other for one, other in zip(*first, strict=True)) >= 8


def test_a_static_scale_is_the_calibrated_one(fp32, calibration, tmp_path):
    bundle = made(fp32, calibration, Scheme(ChannelFormat("static", method="max"), (("*positions*", None),)), tmp_path)
    weights = weights_of(bundle)
    assert (
        weights["encoder.layers.1.self_attention.qkv.activation_scale"] == calibration.inputs[QKV].largest.max() / 127
    )
    assert weights["output.activation_scale"] == pytest.approx(calibration.inputs[TABLE].largest.max() / 127)


def test_a_mix_of_schemes_is_one_bundle(fp32, calibration, tmp_path):
    """As a search makes them: floats, blocks and three kinds of activations beside each other."""
    scheme = (
        named_scheme("seq2seq", "int8-static")
        .with_exception("encoder.layers.0.*", None)
        .with_exception("*.down.weight", ChannelFormat("dynamic", least_error=True))
        .with_exception("decoder.*.up.weight", BlockFormat(8, 16))
        .with_exception(QKV, ChannelFormat("float"))
    )
    bundle = made(fp32, calibration, scheme, tmp_path)
    tensors = bundle.manifest.quantization.tensors
    assert "encoder.layers.0.self_attention.qkv.weight" not in tensors
    assert tensors["encoder.layers.1.feed_forward.down.weight"].activations == "per-row"
    assert tensors["decoder.layers.0.feed_forward.up.weight"].block_size == 16
    assert tensors[QKV].activations == "float"
    assert bundle.manifest.quantization.activations == "static and dynamic per row and dynamic per block"
    assert edgekit.load(bundle.path).generate_ids([[5, 6, 7, 0]])


def test_a_scheme_that_needs_a_calibration_is_refused_without_one(fp32, tmp_path):
    with pytest.raises(
        InputError, match=r"^the scheme needs a calibration of this bundle's activations; run `calibrate`"
    ):
        made(fp32, None, "int8-static", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_calibration_of_other_weights_is_refused(fp32, calibration, tmp_path):
    other = dataclasses.replace(calibration, weights_sha256="0" * 64)
    with pytest.raises(
        InputError, match=rf"^{re.escape(str(fp32))}: the calibration is of other weights; calibrate this"
    ):
        made(fp32, other, "int8-static", tmp_path)


def test_precision_and_scheme_must_agree(fp32, tmp_path):
    with pytest.raises(InputError, match=r"^the scheme makes an int8 bundle, not an int4 one; leave precision out"):
        quantize_bundle(fp32, "int4", tmp_path / "out", scheme=named_scheme("seq2seq", "int8-dynamic"))
    with pytest.raises(UnsupportedError, match=r"^a seq2seq model has no int4; choose int8"):
        quantize_bundle(fp32, output=tmp_path / "out", scheme=Scheme(BlockFormat(4, 32)))


def test_a_scheme_that_quantises_nothing_is_refused(fp32, tmp_path):
    with pytest.raises(InputError, match="unknown precision 'fp32': expected int8 or int4"):
        quantize_bundle(fp32, output=tmp_path / "out", scheme=Scheme(None))


def test_dynamic_activations_drop_the_scales_that_a_checkpoint_ships(tmp_path):
    make_student(tmp_path, vocab=150, d=16, ffn=24, encoder_layers=1, decoder_layers=1, heads=2)
    fp32 = export_checkpoint(read_directory(tmp_path, "tiny"), "fp32", tmp_path / "fp32")
    kept, dropped = (
        open_bundle(quantize_bundle(fp32, output=tmp_path / name, scheme=named_scheme("seq2seq", name)))
        for name in ("int8", "int8-dynamic")
    )
    name = "encoder.layers.0.feed_forward.up.weight"
    assert kept.manifest.quantization.tensors[name].activations == "static"
    assert dropped.manifest.quantization.tensors[name].activations == "per-row"
    assert not [
        name for name in weights_of(dropped) if name.startswith("encoder") and name.endswith("activation_scale")
    ]
    np.testing.assert_array_equal(weights_of(dropped)[name].values, weights_of(kept)[name].values)
    # An embedding that only a shortlist's rows are taken of meets no product.
    assert kept.manifest.quantization.tensors[TABLE].activations is None


def test_calibrated_blocks_weigh_each_inputs_error_by_its_mean_square(calibration, fp32):
    matrix = load_weights(open_bundle(fp32).path_of("weights.safetensors"), {})[QKV]
    wanted = BlockFormat(4, 32, calibrated=True)
    (found,) = quantize_weights({QKV: matrix}, Scheme(wanted), calibration).values()
    expected = quantize_blockwise(matrix, wanted, importance=calibration.inputs[QKV].mean_square)
    np.testing.assert_array_equal(found.values, expected.values)
    assert not np.array_equal(found.scales, quantize_blockwise(matrix, wanted).scales)

    def error(tensor):
        return np.sum(calibration.inputs[QKV].mean_square[:, None] * (tensor.dequantize() - matrix) ** 2)

    assert error(found) < error(quantize_blockwise(matrix, wanted))
