"""What `edgekit inspect` shows of a hand-made bundle."""

import dataclasses
import json
import re
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgekit.bundle.manifest import Quantization, ShortlistFile, TensorQuantization
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.cli.inspect import flatten
from edgekit.cli.main import run
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from tests.bundle.tiny_bundle import build_tiny_bundle, fill, tiny_manifest
from tests.graph.causal_lm_weights import in_form
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle


def inspect(*args):
    with pytest.raises(SystemExit) as stopped:
        run(["inspect", *map(str, args)])
    return stopped.value.code


def row(text, name):
    """The cells of the first line that starts with a name."""
    (line, *_) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return re.split(r" {2,}", line.strip())


@pytest.fixture
def int8_bundle(tmp_path):
    """A bundle of another shape: quantised, with a shortlist and figures."""
    weights = {
        "a.weight": np.zeros((3, 5), np.int8),
        "a.weight_scale": np.ones(5, np.float32),
        "a.activation_scale": np.ones((), np.float32),
        "b": np.zeros((2, 2), np.int8),
        "b.s": np.ones((), np.float32),
        "bias": np.zeros(7, np.float32),
    }
    tensors = {
        "a.weight": TensorQuantization("int8", "a.weight_scale", "per-channel"),
        "b": TensorQuantization("int8", "b.s", "per-tensor"),
    }
    manifest = dataclasses.replace(
        tiny_manifest(),
        precision="int8",
        quantization=Quantization("int8", "dynamic per row", tensors),
        shortlist=ShortlistFile("shortlist.npz", 3),
        measured={"chrf": 61.25, "latency_ms": {"p50": 8.5, "p95": None}, "threads": [1, 2]},
    )
    with stage_bundle(tmp_path / "tiny-en-de-int8") as directory:
        fill(directory)
        save_file(weights, directory / "more.safetensors")
        (directory / "shortlist.npz").write_bytes(b"x")
        write_manifest(directory, manifest)
    return tmp_path / "tiny-en-de-int8"


def test_a_bundle_is_shown_with_its_origin_licence_size_and_files(tmp_path, capsys):
    bundle = build_tiny_bundle(tmp_path / "tiny")
    assert inspect(bundle) == 0
    shown = capsys.readouterr().out
    assert row(shown, "name") == ["name", "tiny-en-de"]
    assert row(shown, "kind") == ["kind", "seq2seq, translation"]
    assert row(shown, "languages") == ["languages", "en to de"]
    assert row(shown, "parameters") == ["parameters", "24"]
    assert row(shown, "size") == ["size", "833 bytes"]
    assert row(shown, "precision") == ["precision", "fp32"]
    assert row(shown, "source") == ["source", "local: tiny"]
    assert row(shown, "licence") == ["licence", "Apache-2.0"]
    assert row(shown, "shortlist") == ["shortlist", "none"]
    assert row(shown, "weights.safetensors") == ["weights.safetensors", "177 bytes"]
    assert "Measured" not in shown


def test_architecture_generation_graphs_and_state_are_shown(tmp_path, capsys):
    inspect(build_tiny_bundle(tmp_path / "tiny"))
    shown = capsys.readouterr().out
    assert row(shown, "model_type") == ["model_type", "tiny"]
    assert row(shown, "max_length_factor") == ["max_length_factor", "2.0"]
    assert row(shown, "encoder") == ["encoder", "input", "input_ids", "int64", "[batch, source_length]"]
    assert "decoder  output  present_state_0  float32  [batch, 4]" in shown
    assert row(shown, "state_0") == ["state_0", "recurrent", "past_state_0", "present_state_0", "float32", "[batch, 4]"]
    assert row(shown, "memory_0")[1:4] == ["constant", "cross_memory_0", "none"]


def test_quantised_tensors_are_summed_up_and_scales_are_no_parameters(int8_bundle, capsys):
    inspect(int8_bundle)
    shown = capsys.readouterr().out
    details = "int8 (1 tensors int8 per-channel; 1 tensors int8 per-tensor; activations dynamic per row)"
    assert row(shown, "precision") == ["precision", details]
    assert row(shown, "parameters") == ["parameters", str(24 + 3 * 5 + 2 * 2 + 7)]
    assert row(shown, "shortlist")[1] == "shortlist.npz, with the 3 most frequent target tokens always"
    assert row(shown, "chrf") == ["chrf", "61.25"]
    assert row(shown, "latency_ms.p50") == ["latency_ms.p50", "8.5"]
    assert row(shown, "threads") == ["threads", "1, 2"]


def test_json_holds_the_manifest_and_what_follows_from_it(int8_bundle, capsys):
    assert inspect(int8_bundle, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert sorted(shown) == ["manifest", "parameters", "path", "schema_version", "size_bytes"]
    assert (shown["schema_version"], shown["parameters"]) == (1, 50)
    assert shown["path"] == str(int8_bundle.resolve())
    files = [path for path in int8_bundle.iterdir() if path.name != "bundle.json"]
    assert shown["size_bytes"] == sum(path.stat().st_size for path in files)
    assert shown["manifest"] == json.loads((int8_bundle / "bundle.json").read_text())


def test_a_name_is_looked_up_like_the_runtime_does(int8_bundle, monkeypatch, capsys):
    monkeypatch.chdir(int8_bundle.parent)
    assert inspect("tiny-en-de") == 0
    assert row(capsys.readouterr().out, "name") == ["name", "tiny-en-de"]


def test_a_damaged_bundle_is_one_line_and_nothing_on_stdout(int8_bundle, capsys):
    (int8_bundle / "bundle.json").write_text('{"schema_version": 7}')
    assert inspect(int8_bundle, "--json") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"edgekit: .*this bundle has schema version 7; this edgekit reads 1; .*\n", captured.err)


def test_a_weights_file_that_is_no_safetensors_is_one_line(tmp_path, capsys):
    with stage_bundle(tmp_path / "tiny") as directory:
        fill(directory)
        (directory / "other.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
        write_manifest(directory, tiny_manifest())
    assert inspect(tmp_path / "tiny") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"edgekit: .*other\.safetensors: expected a safetensors file, found .*; export the model again\n", captured.err
    )


def test_flatten_joins_keys_with_dots():
    assert flatten({"a": {"b": None, "c": {"d": [1, 2]}}, "e": True}) == [
        ("a.b", "none"), ("a.c.d", "1, 2"), ("e", "True")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def text_bundles(tmp_path_factory, llama_case):
    """A random llama whose source was quantised, in fp32 and int4."""
    bundles = {}
    for precision in ("fp32", "int4"):
        weights = llama_case.weights
        if precision == "int4":
            weights = quantize_weights(weights, named_scheme("causal-lm", precision))
        directory = tmp_path_factory.mktemp("texts") / f"tiny-{precision}"
        bundles[precision] = write_text_bundle(
            directory, llama_case, byte_level(), precision=precision, weights=weights
        )
        manifest = json.loads((directory / "bundle.json").read_text(encoding="utf-8"))
        manifest["quantization"]["source"] = "Q4_1, Q8_0"
        (directory / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return bundles


def test_a_decoder_only_bundle_is_shown_with_its_context_and_chat(text_bundles, capsys):
    assert inspect(text_bundles["fp32"]) == 0
    shown = capsys.readouterr().out
    assert row(shown, "kind") == ["kind", "causal-lm, text-generation"]
    assert row(shown, "context") == ["context", "160 tokens"]
    assert row(shown, "chat") == ["chat", "chat_template.jinja"]
    assert row(shown, "precision") == ["precision", "fp32 (of a source quantised in Q4_1, Q8_0)"]
    assert "languages" not in shown
    assert "shortlist" not in shown
    # One row for all layers.
    assert "past_key_{0-1}" in shown
    assert row(shown, "key_{0-1}")[:4] == ["key_{0-1}", "appended", "past_key_{0-1}", "present_key_{0-1}"]


def test_parameters_are_counted_alike_in_every_precision(text_bundles, capsys):
    # Embedding and head; in two layers q 48x64, k and v 48x32, o 64x48, three of 48x80 and two norms; the last norm.
    expected = 2 * 320 * 48 + 2 * (48 * 64 + 2 * 48 * 32 + 64 * 48 + 3 * 48 * 80 + 2 * 48) + 48
    for bundle in text_bundles.values():
        inspect(bundle, "--json")
        assert json.loads(capsys.readouterr().out)["parameters"] == expected


def test_offsets_behind_the_values_are_no_parameters(llama_case, text_bundles, tmp_path, capsys):
    weights = in_form(llama_case.weights, "4 bits with folded offsets")
    write_text_bundle(tmp_path / "folded", llama_case, byte_level(), precision="int4", weights=weights)
    counts = []
    for bundle in (tmp_path / "folded", text_bundles["fp32"]):
        assert inspect(bundle, "--json") == 0
        counts.append(json.loads(capsys.readouterr().out)["parameters"])
    assert counts[0] == counts[1]
