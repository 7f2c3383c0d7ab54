"""An fp32 bundle of a decoder-only model to int8 and int4."""

import json

import numpy as np
import pytest

import edgekit
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.errors import BundleError, EdgekitError
from edgekit.export import export
from edgekit.graph.weights_file import load_weights
from edgekit.quantize.bundle import quantize_bundle
from tests.export.causal_lm_directories import make_model, save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("llama") / "tiny", make_model("llama"))


@pytest.fixture(scope="module")
def fp32(checkpoint, tmp_path_factory):
    return export(str(checkpoint), "fp32", tmp_path_factory.mktemp("fp32") / "bundle")


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantised_fp32_bundle_is_byte_for_byte_an_export(precision, checkpoint, fp32, tmp_path):
    quantized = contents(quantize_bundle(fp32, precision, tmp_path / "quantised"))
    exported = contents(export(str(checkpoint), precision, tmp_path / "exported"))
    assert quantized.keys() == exported.keys()
    assert [name for name in exported if quantized[name] != exported[name]] == []


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_result_is_a_whole_bundle_near_its_source(precision, fp32, tmp_path):
    quantized = quantize_bundle(fp32, precision, tmp_path / "quantised")
    verify_bundle(quantized)
    ids = list(range(40, 60))
    exact, found = (edgekit.load(path).logits(ids) for path in (fp32, quantized))
    difference = np.sqrt(np.mean((found - exact) ** 2)) / exact.std()
    assert 1e-4 < difference < {"int8": 0.05, "int4": 0.5}[precision]


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_manifest_describes_every_tensor_that_is_quantised(precision, fp32, tmp_path):
    bundle = open_bundle(quantize_bundle(fp32, precision, tmp_path / "quantised"))
    quantization = bundle.manifest.quantization
    weights = load_weights(bundle.file("weights.safetensors"), quantization.tensors)
    assert (bundle.manifest.precision, quantization.scheme) == (precision, precision)
    assert {name for name, weight in weights.items() if weight.ndim == 2} - {"rotary.cos", "rotary.sin"} == set(
        quantization.tensors
    )
    for name, entry in quantization.tensors.items():
        assert (entry.dtype, entry.block_size) == (f"uint{weights[name].bits}", weights[name].block_size)


def test_an_architecture_that_does_not_fit_the_weights_is_refused(fp32, tmp_path):
    import shutil

    bundle = shutil.copytree(fp32, tmp_path / "bundle")
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["architecture"]["ffn_dim"] *= 2
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=r"of another shape: layers\.0\.feed_forward\.gate_up\.weight"):
        quantize_bundle(bundle, "int8", tmp_path / "out")
    manifest["architecture"] = {}
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(EdgekitError):
        quantize_bundle(bundle, "int8", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
