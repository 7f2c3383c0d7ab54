"""An fp32 bundle to an int8 one: the same files as an export in int8, and nothing half-written."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgekit.bundle.read import verify_bundle
from edgekit.errors import BundleError, EdgekitError, InputError, ModelNotFoundError, OutputError, UnsupportedError
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.export.sources.marian_binary import read_marian_binary
from edgekit.quantize.bundle import quantize_bundle
from edgekit.runtime import load
from tests.bergamot_fixture import make_student


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    sizes = {"vocab": 120, "d": 16, "ffn": 24, "encoder_layers": 1, "decoder_layers": 2, "heads": 2}
    return make_student(tmp_path_factory.mktemp("student"), **sizes)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def student_bundle(request, student, tmp_path_factory):
    checkpoint = read_directory(student.directory, "tiny")
    return export_checkpoint(checkpoint, request.param, tmp_path_factory.mktemp("bundles") / request.param)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def tiny_fp32(student, tmp_path_factory):
    return export_checkpoint(
        read_directory(student.directory, "tiny"), "fp32", tmp_path_factory.mktemp("tiny") / "fp32"
    )


@pytest.fixture(scope="module")
def quantised(embedded_fp32, tmp_path_factory):
    """The embedded model, quantised."""
    return quantize_bundle(embedded_fp32, output=tmp_path_factory.mktemp("quantised") / "int8")


def test_a_quantised_fp32_bundle_is_byte_for_byte_an_int8_export(quantised, embedded_int8):
    expected = contents(embedded_int8)
    found = contents(quantised)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_exports_are_byte_for_byte_reproducible(student, student_bundle, tmp_path):
    checkpoint = read_directory(student.directory, "tiny")
    again = export_checkpoint(checkpoint, student_bundle.name, tmp_path / "again")
    assert contents(again) == contents(student_bundle)


def test_a_quantised_student_is_byte_for_byte_an_int8_export(student, tiny_fp32, tmp_path):
    int8 = export_checkpoint(read_directory(student.directory, "tiny"), "int8", tmp_path / "int8")
    assert contents(quantize_bundle(tiny_fp32, output=tmp_path / "quantised")) == contents(int8)


def test_shipped_int8_bytes_end_up_in_the_weights_file_unchanged(student, student_bundle):
    shipped = read_marian_binary(student.model).tensors
    stored = load_file(student_bundle / "weights.safetensors")
    for ours, theirs in (
        ("source_embedding.weight", "Wemb"),
        ("encoder.layers.0.feed_forward.down.weight", "encoder_l1_ffn_W2"),
        ("decoder.layers.1.cross_attention.query.weight", "decoder_l2_context_Wq"),
    ):
        values = stored[ours][: shipped[theirs].shape[0]]
        assert values.tobytes() == np.ascontiguousarray(shipped[theirs].values).tobytes()
        assert stored[f"{ours}_scale"] == shipped[theirs].scale
    parts = [shipped[f"encoder_l1_self_W{part}"].values for part in "qkv"]
    np.testing.assert_array_equal(stored["encoder.layers.0.self_attention.qkv.weight"], np.hstack(parts))


def test_each_weight_is_stored_once(embedded_int8):
    stored = load_file(embedded_int8 / "weights.safetensors")
    bytes_of_tensors = sum(tensor.nbytes for tensor in stored.values())
    assert bytes_of_tensors + 20_000 > (embedded_int8 / "weights.safetensors").stat().st_size
    # The graphs hold no weight of their own.
    assert all((embedded_int8 / name).stat().st_size < 60_000 for name in ("encoder.onnx", "decoder.onnx"))
    table = stored["source_embedding.weight"]
    others = [name for name, tensor in stored.items() if tensor.shape == table.shape]
    assert others == ["source_embedding.weight"]


def test_the_result_is_whole_and_loads(quantised):
    assert all(check.ok for check in verify_bundle(quantised))
    translator = load(quantised)
    assert translator.manifest.precision == translator.manifest.quantization.scheme == "int8"
    assert translator.manifest.quantization.activations == "dynamic per row"
    assert translator.translate("Good morning!") == "Guten Morgen!"


def test_the_default_output_is_named_after_the_model(tiny_fp32, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(quantize_bundle(tiny_fp32)) == "tiny-int8"
    assert (tmp_path / "tiny-int8" / "bundle.json").is_file()


def test_an_int8_bundle_is_refused(embedded_int8, tmp_path):
    with pytest.raises(InputError, match="is int8 already; quantize takes an fp32 bundle"):
        quantize_bundle(embedded_int8, output=tmp_path / "again")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "int2", ""])
def test_other_precisions_are_refused(embedded_fp32, precision, tmp_path):
    with pytest.raises(InputError, match=f"unknown precision '{precision}': expected int8 or int4"):
        quantize_bundle(embedded_fp32, precision, tmp_path / "out")


def test_int4_is_refused_for_a_translation_model(embedded_fp32, tmp_path):
    with pytest.raises(UnsupportedError, match="a seq2seq model has no int4; choose int8"):
        quantize_bundle(embedded_fp32, "int4", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_path_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match="expected a bundle, found nothing"):
        quantize_bundle(tmp_path / "nothing", output=tmp_path / "out")


def test_an_existing_output_is_kept_unless_forced(tiny_fp32, tmp_path):
    target = tmp_path / "int8"
    quantize_bundle(tiny_fp32, output=target)
    before = contents(target)
    with pytest.raises(OutputError, match="exists already; choose another output or replace it with --force"):
        quantize_bundle(tiny_fp32, output=target)
    assert contents(target) == before
    assert quantize_bundle(tiny_fp32, output=target, force=True) == target
    assert contents(target) == before


@pytest.mark.parametrize("precision_of", ["fp32"])
def test_a_damaged_bundle_is_refused_and_nothing_written(embedded_fp32, precision_of, tmp_path):
    damaged = shutil.copytree(embedded_fp32, tmp_path / "damaged")
    weights = damaged / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 0x40
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"weights\.safetensors: expected SHA-256 .* export the model again"):
        quantize_bundle(damaged, output=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def rehash(bundle, **changes):
    """Changes the manifest and lists the files as they are now, as someone with a text editor and patience would."""
    import hashlib

    path = bundle / "bundle.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= changes
    for name in values["files"]:
        data = (bundle / name).read_bytes()
        values["files"][name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(values), encoding="utf-8")


HOSTILE = {
    "no architecture": {"architecture": {}},
    "an architecture of another size": {"d_model": 512},
    "an architecture of endless layers": {"encoder_layers": 1 << 40},
    "an architecture of text": {"d_model": "256"},
    "heads that don't divide": {"encoder_attention_heads": 3},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_manifest_whose_architecture_does_not_fit_the_weights_is_refused(what, embedded_fp32, tmp_path):
    bundle = shutil.copytree(embedded_fp32, tmp_path / "bundle")
    architecture = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["architecture"]
    changes = HOSTILE[what]
    rehash(bundle, architecture=changes.get("architecture", architecture | changes))
    with pytest.raises(EdgekitError):
        quantize_bundle(bundle, output=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_weights_that_are_no_safetensors_file_are_refused(embedded_fp32, tmp_path):
    bundle = shutil.copytree(embedded_fp32, tmp_path / "bundle")
    (bundle / "weights.safetensors").write_bytes(b"\xff" * 4096)
    rehash(bundle)
    with pytest.raises(EdgekitError):
        quantize_bundle(bundle, output=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
