"""Checkpoint in, bundle out: what the manifest says of it, and that nothing wrong or unfinished is left."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgekit import __version__
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.errors import EdgekitError, InputError, ModelNotFoundError, OutputError
from edgekit.export import export, pipeline
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.emitter import Emitter
from edgekit.runtime import load
from tests.bergamot_fixture import make_student
from tests.graph.marian_checkpoints import make_marian, save_marian


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    directory = tmp_path_factory.mktemp("student")
    make_student(directory, vocab=120, d=16, ffn=24, encoder_layers=1, decoder_layers=2, heads=2)
    (directory / "LICENSE").write_text("Do as you like.\n")
    return read_directory(directory, "tiny-en-pt")


@pytest.fixture(scope="module", params=["fp32", "int8"])
def student_bundle(request, student, tmp_path_factory):
    return export_checkpoint(student, request.param, tmp_path_factory.mktemp("bundles") / request.param)


def test_every_file_is_listed_and_whole(student_bundle, embedded_int8):
    for bundle in (student_bundle, embedded_int8):
        assert [check.finding for check in verify_bundle(bundle)] == [None] * (len(list(bundle.iterdir())) - 1)


def test_files_of_a_student(student_bundle):
    assert sorted(path.name for path in student_bundle.iterdir()) == [
        "LICENSE",
        "beam_decoder.onnx",
        "bundle.json",
        "decoder.onnx",
        "encoder.onnx",
        "shortlist.npz",
        "tokenizer.json",
        "weights.safetensors",
    ]
    assert (student_bundle / "LICENSE").read_text() == "Do as you like.\n"


def test_the_manifest_says_what_the_bundle_is(student_bundle, student):
    manifest = open_bundle(student_bundle).manifest
    assert (manifest.name, manifest.precision, manifest.kind) == ("tiny-en-pt", student_bundle.name, "seq2seq")
    assert (manifest.languages.source, manifest.languages.target) == ("en", "pt")
    assert manifest.source.type == "local"
    assert dict(manifest.source.files) == student.source["files"]
    assert manifest.created_by == {"edgekit": __version__}
    assert manifest.architecture["d_model"] == 16
    assert manifest.shortlist.first == 50
    assert manifest.measured is None


def test_the_manifest_says_how_activations_are_quantised(student_bundle, embedded_int8, embedded_fp32):
    expected = {"int8": "static", "fp32": None}[student_bundle.name]
    assert open_bundle(student_bundle).manifest.quantization.activations == expected
    assert open_bundle(embedded_int8).manifest.quantization.activations == "dynamic per row"
    assert open_bundle(embedded_fp32).manifest.quantization.activations is None


def test_an_fp32_student_keeps_the_int8_weights_that_were_shipped(student_bundle):
    manifest = open_bundle(student_bundle).manifest
    stored = load_file(student_bundle / "weights.safetensors")
    int8 = {name for name, tensor in stored.items() if tensor.dtype == np.int8}
    assert set(manifest.quantization.tensors) == int8
    assert "source_embedding.weight" in int8
    granularity = {name: tensor.granularity for name, tensor in manifest.quantization.tensors.items()}
    assert granularity["source_embedding.weight"] == "per-tensor"
    assert granularity["encoder.layers.0.self_attention.qkv.weight"] == "per-channel"


def test_an_fp32_marian_has_float_weights_only(embedded_fp32):
    assert open_bundle(embedded_fp32).manifest.quantization.tensors == {}
    assert {tensor.dtype for tensor in load_file(embedded_fp32 / "weights.safetensors").values()} == {np.dtype("f4")}


def test_state_of_a_recurrent_decoder_and_of_one_with_a_cache(student_bundle, embedded_int8):
    def kinds(bundle):
        return {state.name: state.kind for state in open_bundle(bundle).manifest.state}

    assert kinds(student_bundle) == {
        **{f"cross_{part}_{layer}": "constant" for part in ("key", "value") for layer in (0, 1)},
        "state_0": "recurrent",
        "state_1": "recurrent",
        "output_weight": "constant",
        "output_bias": "constant",
    }
    assert kinds(embedded_int8) == {
        **{f"cross_{part}_{layer}": "constant" for part in ("key", "value") for layer in (0, 1)},
        **{f"{part}_{layer}": "appended" for part in ("key", "value") for layer in (0, 1)},
    }


def test_no_weight_is_inside_a_graph(student_bundle, embedded_int8):
    """Each is stored once, in the weights file that both graphs point into."""
    for bundle in (student_bundle, embedded_int8):
        assert max((bundle / name).stat().st_size for name in ("encoder.onnx", "decoder.onnx")) < 60_000


def test_nothing_of_this_machine_is_in_a_bundle(student_bundle, student):
    directory = str(student.files["weights"].parent)
    for path in student_bundle.iterdir():
        assert directory.encode() not in path.read_bytes(), path.name


def test_the_recorded_sentence_fits_the_shortest_source_a_model_takes(tmp_path):
    save_marian(make_marian(max_position_embeddings=16), tmp_path)
    translator = load(export_checkpoint(read_directory(tmp_path, "tiny"), "int8", tmp_path / "bundle"))
    recorded = translator.manifest.self_check
    assert len(recorded.input_ids) <= translator.manifest.generation.max_source_tokens == 16
    assert recorded.input_ids[-1] == 0
    assert translator.generate_ids([recorded.input_ids], max_length=16) == [list(recorded.output_ids)]


def test_the_default_output_is_named_after_model_and_precision(student, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(export_checkpoint(student)) == "tiny-en-pt-int8"
    assert str(export_checkpoint(student, "fp32")) == "tiny-en-pt-fp32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-en-pt-fp32", "tiny-en-pt-int8"]


@pytest.mark.parametrize("precision", ["int2", "INT8", "", None])
def test_an_unknown_precision_is_refused_before_anything_is_fetched(precision, tmp_path):
    with pytest.raises(InputError, match=f"unknown precision {precision!r}: expected one of int8, int4, fp32"):
        export("no-model-of-this-name", precision, tmp_path / "out")


def test_int4_is_for_decoder_only_models(student, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "resolve_checkpoint", None)
    with pytest.raises(InputError, match="int4 is for decoder-only models; choose int8 or fp32 for this one"):
        export("opus-mt-en-fr", "int4", tmp_path / "out")
    with pytest.raises(InputError, match="int4 is for decoder-only models"):
        export_checkpoint(student, "int4", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(
        ModelNotFoundError, match="no model is named 'marian-en-dee'; the closest names are marian-en-de"
    ):
        export("marian-en-dee", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_unless_forced(student, tmp_path):
    export_checkpoint(student, "int8", tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(student, "fp32", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["precision"] == "int8"
    export_checkpoint(student, "fp32", tmp_path / "out", force=True)
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["precision"] == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_fault_does_not_leave_the_exporter(precision, student, tmp_path, monkeypatch):
    has = Emitter.has
    monkeypatch.setattr(Emitter, "has", lambda self, name: not name.endswith("up.bias") and has(self, name))
    with pytest.raises(EdgekitError, match=r"differs from its weights by .*; nothing was written"):
        export_checkpoint(student, precision, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write_graphs", "check_graphs", "record_self_check", "write_manifest"])
def test_whatever_fails_leaves_nothing_behind(step, student, tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, step, fail)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(student, "int8", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_something_other_than_asked_for_is_said_in_one_line(tmp_path):
    said = []
    export("marian-en-de", output=tmp_path / "out", notify=said.append)
    assert len(said) == 1
    assert "using the checkpoint marian-en-de that edgekit carries instead" in said[0]
    manifest = open_bundle(tmp_path / "out").manifest
    assert (manifest.source.type, manifest.source.id) == ("embedded", "marian-en-de")
    assert manifest.source.license == "CC-BY-SA-4.0"
