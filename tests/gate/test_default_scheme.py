"""Which models are calibrated by default: those of floats that development text is packaged for."""

import dataclasses

import pytest

from edgekit.bundle.manifest import Languages, TensorQuantization
from edgekit.bundle.read import open_bundle
from edgekit.gate.calibration import calibrate_on_development
from edgekit.gate.default_scheme import (
    MOST_PARAMETERS,
    calibrate_default,
    has_calibrated_default,
    has_smoothed_default,
    is_calibrated_by_default,
)
from edgekit.graph.foreign import IMPORTED
from edgekit.quality.development import development_pair, load_development_pairs
from edgekit.quantize.bundle import quantize_bundle


@pytest.fixture(scope="module")
def manifest(embedded_fp32):
    return open_bundle(embedded_fp32).manifest


def test_text_of_the_source_language_serves_whatever_it_is_paired_with():
    assert development_pair("en", "de") == ("en", "de")
    assert development_pair("en", "pt") == ("en", "pt")
    assert development_pair("de", "en") == ("de", "en")
    assert development_pair("en", "fr") == ("en", "de")
    assert development_pair("pt", "ja") == ("pt", "en")
    assert development_pair("fr", "en") is None
    assert development_pair(None, None) is None
    assert load_development_pairs(None, *development_pair("de", "en")).sources[0] != ""


@pytest.mark.parametrize(
    ("source", "target", "expected"), [("en", "fi", True), ("fr", "en", False), (None, None, False)]
)
def test_a_language_without_text_has_no_calibrated_default(manifest, source, target, expected):
    assert has_calibrated_default(source, target) is expected
    assert is_calibrated_by_default(dataclasses.replace(manifest, languages=Languages(source, target))) is expected


def test_what_a_checkpoint_quantised_itself_keeps_its_scales(manifest):
    assert is_calibrated_by_default(manifest)
    shipped = {"output.weight": TensorQuantization("int8", "output.weight_scale", "per-tensor")}
    quantization = dataclasses.replace(manifest.quantization, tensors=shipped)
    assert not is_calibrated_by_default(dataclasses.replace(manifest, quantization=quantization))


def test_what_is_no_translator_has_no_calibrated_default(manifest):
    assert not is_calibrated_by_default(dataclasses.replace(manifest, task="text2text"))


def test_another_target_language_is_calibrated_on_the_same_sentences(embedded_fp32, manifest, monkeypatch):
    """Only sources are read: a model into a language without any packaged text is calibrated, too."""
    french = dataclasses.replace(manifest, languages=Languages("en", "fr"))
    bundle = dataclasses.replace(open_bundle(embedded_fp32), manifest=french)
    monkeypatch.setattr("edgekit.gate.calibration.open_bundle", lambda path: bundle)
    found = calibrate_on_development(embedded_fp32, None, 2)
    assert (found.name, found.texts) == ("valid", 2)


def test_a_language_model_is_smoothed_in_blocks(endless_llama, tmp_path):
    assert is_calibrated_by_default(open_bundle(endless_llama).manifest)
    scheme, calibration = calibrate_default(endless_llama)
    assert (calibration.name, calibration.texts) == ("wikitext2-development", 16)
    name = "layers.0.attention.qkv.weight"
    assert (scheme.format_of(name).block_size, scheme.format_of(name).smoothing) == (64, 0.7)
    made = quantize_bundle(endless_llama, output=tmp_path / "int8", scheme=scheme, calibration=calibration)
    manifest = open_bundle(made).manifest
    assert manifest.precision == "int8"
    assert manifest.measured["calibration"]["text"] == "wikitext2-development"
    # The tiny model's rows are short.
    assert manifest.quantization.tensors[name].block_size == 32


@pytest.mark.parametrize(
    ("changes", "source"), [({}, "Q8_0"), ({"gated_ffn": False}, None), ({"ffn_dim": MOST_PARAMETERS}, None)]
)
def test_a_language_model_that_keeps_plain_blocks(changes, source, llama_case):
    assert has_smoothed_default(llama_case.config, None)
    assert has_smoothed_default(llama_case.config, "Q4_1, Q8_0")
    assert not has_smoothed_default(dataclasses.replace(llama_case.config, **changes), source)


def test_without_packaged_text_nothing_is_smoothed(llama_case, monkeypatch):
    monkeypatch.setattr("edgekit.gate.default_scheme.has_development_text", lambda: False)
    assert not has_smoothed_default(llama_case.config, None)


def test_an_imported_language_model_is_not_smoothed_and_an_imported_translator_is_calibrated(manifest, endless_llama):
    imported = {"architecture": {IMPORTED: True}}
    assert is_calibrated_by_default(dataclasses.replace(manifest, **imported))
    assert not is_calibrated_by_default(dataclasses.replace(open_bundle(endless_llama).manifest, **imported))
