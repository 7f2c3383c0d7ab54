"""`edgekit quantize`: an int8 bundle from an fp32 one, or one line and nothing half-written."""

import os
import shutil

import pytest

from edgekit.bundle.read import open_bundle
from tests.cli.command import assert_fails, edgekit, edgekit_here
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle


def test_an_int8_bundle_is_written_and_its_path_printed(embedded_fp32, tmp_path):
    done = edgekit("quantize", embedded_fp32, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "marian-en-de-int8\n"), done.stderr
    said = "int8: activation scales calibrated on 64 sentences of edgekit's development text valid\n"
    assert done.stderr == said
    assert os.listdir(tmp_path) == ["marian-en-de-int8"]
    manifest = open_bundle(tmp_path / "marian-en-de-int8").manifest
    assert manifest.quantization.activations == "static"
    calibration = manifest.measured["calibration"]
    assert (calibration["text"], calibration["texts"]) == ("valid", 64)
    assert calibration["tokens"] > 1000
    done = edgekit_here("translate", tmp_path / "marian-en-de-int8", "Good morning!")
    assert (done.returncode, done.stdout) == (0, "Guten Morgen!\n")


def test_an_existing_output_is_kept_unless_forced(embedded_fp32, tmp_path):
    target = tmp_path / "mine"
    dynamic = ("quantize", embedded_fp32, "--scheme", "int8-dynamic", "-o", target)
    done = edgekit_here(*dynamic)
    assert (done.returncode, done.stderr) == (0, "")
    assert open_bundle(target).manifest.quantization.activations == "dynamic per row"
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    assert_fails(edgekit_here(*dynamic), 1, "exists already")
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir()} == before
    assert edgekit_here(*dynamic, "--force").returncode == 0


def test_an_int8_bundle_is_refused(embedded_int8, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = edgekit_here("quantize", embedded_int8)
    assert_fails(done, 1, "is int8 already; quantize takes an fp32 bundle")
    assert os.listdir(tmp_path) == []


def test_what_is_no_bundle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert_fails(edgekit_here("quantize", tmp_path / "nothing"), 1, "expected a bundle, found nothing")
    assert_fails(edgekit_here("quantize", tmp_path / "empty"), 1, "bundle.json")


def test_a_damaged_bundle_is_refused(embedded_fp32, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = shutil.copytree(embedded_fp32, tmp_path / "bundle")
    (bundle / "weights.safetensors").write_bytes((bundle / "weights.safetensors").read_bytes()[:-1])
    assert_fails(edgekit_here("quantize", bundle), 1, "weights.safetensors")
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize("arguments", [[], ["a", "--precision", "fp32"], ["a", "b"]])
def test_wrong_usage_has_status_2(arguments):
    assert_fails(edgekit_here("quantize", *arguments), 2)


def test_a_decoder_only_bundle_becomes_int4(llama_case, tmp_path):
    write_text_bundle(tmp_path / "tiny-fp32", llama_case, byte_level())
    done = edgekit_here("quantize", "tiny", "--precision", "int4", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tiny-int4\n", "")
    done = edgekit_here("generate", tmp_path / "tiny-int4", "The children", "--max-new-tokens", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert open_bundle(tmp_path / "tiny-int4").manifest.precision == "int4"
