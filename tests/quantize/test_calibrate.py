"""Statistics of a run over texts: the inputs that the numpy reference sees, and nothing of padding or of the order."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError
from edgekit.export import export
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph import causal_lm_reference, reference
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.reference_products import ReferenceProducts
from edgekit.graph.weights_file import load_weights
from edgekit.quantize import calibrate as module
from edgekit.quantize.calibrate import Recorder, calibrate
from tests.bergamot_fixture import make_student
from tests.export.causal_lm_directories import make_model, save_checkpoint
from tests.graph.marian_checkpoints import make_marian, save_marian

TEXTS = ["en pt en", "pt", "en en en pt en"]


class Recording(ReferenceProducts):
    """Keeps the input of every product, by its weight."""

    found: dict

    def linear(self, x, layer, name=None, **options):
        self.found.setdefault(name or f"{layer}.weight", []).append(x)
        return super().linear(x, layer, name, **options)


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    directory = tmp_path_factory.mktemp("marian")
    save_marian(make_marian(encoder_layers=2), directory / "model")
    return export_checkpoint(read_directory(directory / "model", "tiny"), "fp32", directory / "fp32")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama")
    return export(str(save_checkpoint(directory / "tiny", make_model("llama"))), "fp32", directory / "fp32")


def reference_inputs(monkeypatch, where, calculate):
    """What the reference multiplies, ``[rows, width]`` by weight."""
    monkeypatch.setattr(Recording, "found", {}, raising=False)
    monkeypatch.setattr(where, "ReferenceProducts", Recording)
    calculate()
    return {name: np.concatenate(rows) for name, rows in Recording.found.items()}


def assert_statistics_of(calibration, expected):
    assert calibration.inputs.keys() == expected.keys()
    for name, rows in expected.items():
        found = calibration.inputs[name]
        assert found.rows == len(rows), name
        np.testing.assert_allclose(found.largest, np.abs(rows).max(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.mean_absolute, np.abs(rows).mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.mean_square, np.square(rows).mean(axis=0), rtol=1e-4, atol=1e-5)
        # So few rows are all kept, in an order of their own.
        by_first = [np.lexsort(np.round(sample.T, 3)) for sample in (found.sample, rows)]
        np.testing.assert_allclose(found.sample[by_first[0]], rows[by_first[1]], atol=2e-3)


def test_inputs_of_a_translation_model_are_those_of_the_reference(marian, monkeypatch):
    targets = ["pt en", "en", "pt pt pt"]
    bundle = open_bundle(marian)
    manifest = bundle.manifest
    files = manifest.tokenizer
    tokenizer = module.Tokenizer.load(
        bundle.path_of(files.source), files.source_vocab_size, manifest.generation.unk_token_id
    )
    weights = load_weights(bundle.path_of("weights.safetensors"), {})
    config = Seq2SeqConfig.from_dict(manifest.architecture)

    def calculate():
        model = reference.Reference(config, weights, "fp32")
        for text, target in zip(TEXTS, targets, strict=True):
            said = [manifest.generation.start_token_id, *tokenizer.encode(target)]
            model.logits(np.array([*tokenizer.encode(text), manifest.generation.eos_token_id]), np.array(said))

    calibration = calibrate(marian, TEXTS, targets)
    assert_statistics_of(calibration, reference_inputs(monkeypatch, reference, calculate))
    assert (calibration.texts, calibration.tokens) == (3, sum(len(tokenizer.encode(t)) for t in TEXTS + targets) + 3)


def test_inputs_of_a_decoder_only_model_are_those_of_the_reference(llama, monkeypatch):
    bundle = open_bundle(llama)
    files = bundle.manifest.tokenizer
    tokenizer = module.HubTokenizer.load(bundle.path_of(files.source), files.source_vocab_size)
    config = CausalLMConfig.from_dict(bundle.manifest.architecture)
    weights = load_weights(bundle.path_of("weights.safetensors"), {})
    texts = ["the weather is fine", "today it rains " * 6]
    monkeypatch.setattr(module, "WINDOW", 16)
    bos = [bundle.manifest.generation.bos_token_id] if bundle.manifest.generation.adds_bos else []

    def calculate():
        model = causal_lm_reference.CausalLMReference(config, weights, "fp32")
        for text in texts:
            ids = tokenizer.encode(text)
            for start in range(0, len(ids), 16 - len(bos)):
                model.logits(np.array([*bos, *ids[start : start + 16 - len(bos)]]))

    assert_statistics_of(calibrate(llama, texts), reference_inputs(monkeypatch, causal_lm_reference, calculate))


def test_without_targets_the_model_says_its_own(marian):
    said, forced = calibrate(marian, TEXTS), calibrate(marian, TEXTS, ["en"] * 3)
    query = "decoder.layers.0.cross_attention.query.weight"
    assert said.inputs[query].rows != forced.inputs[query].rows
    np.testing.assert_array_equal(
        said.inputs["encoder.layers.0.self_attention.qkv.weight"].largest,
        forced.inputs["encoder.layers.0.self_attention.qkv.weight"].largest,
    )


def test_a_shortlist_model_is_calibrated_without_its_output_layer(tmp_path):
    make_student(tmp_path, vocab=150, d=16, ffn=24, encoder_layers=1, decoder_layers=2, heads=2)
    fp32 = export_checkpoint(read_directory(tmp_path, "tiny"), "fp32", tmp_path / "fp32")
    calibration = calibrate(fp32, ["en pt", "pt"])
    assert "decoder.layers.1.ssru.candidate_gate.weight" in calibration.inputs
    assert not [name for name in calibration.inputs if "embedding" in name or name.startswith("output")]


def same(one, other):
    return all(np.array_equal(one.inputs[name].sample, other.inputs[name].sample) for name in one.inputs)


def test_the_same_texts_and_seed_give_the_same_sample(marian, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 4)
    once, again, other = (calibrate(marian, TEXTS, seed=seed) for seed in (1, 1, 2))
    assert same(once, again)
    assert not same(once, other)
    assert {len(found.sample) for found in once.inputs.values()} == {4}


def test_a_sample_holds_each_row_as_often_as_any_other(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 10)
    counts = np.zeros(40)
    for seed in range(300):
        recorder = Recorder(seed)
        for size in (1, 7, 32):
            first = {1: 0, 7: 1, 32: 8}[size]
            recorder.add("a.weight", np.arange(first, first + size, dtype=np.float32)[:, None])
        counts[recorder.inputs()["a.weight"].sample.ravel().astype(int)] += 1
    assert counts.sum() == 3000
    assert counts.min() > 75 - 5 * np.sqrt(56)
    assert counts.max() < 75 + 5 * np.sqrt(56)


def test_texts_are_taken_one_by_one_up_to_the_limit(marian):
    taken, told = [], []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield "en pt"

    calibration = calibrate(marian, endless(), limit=3, progress=lambda count: told.append((count, len(taken))))
    assert calibration.texts == 3
    assert told == [(1, 1), (2, 2), (3, 3)]
    assert len(taken) == 3


def test_the_bundle_is_not_written_to(marian):
    before = {path.name: path.stat().st_mtime_ns for path in marian.iterdir()}
    calibrate(marian, ["en"])
    assert {path.name: path.stat().st_mtime_ns for path in marian.iterdir()} == before


def test_no_text_is_refused(marian):
    with pytest.raises(InputError, match="calibration needs at least one text with a token in it, found none"):
        calibrate(marian, ["", ""])


@pytest.mark.parametrize("targets", [["en"], ["en"] * 4])
def test_another_number_of_targets_is_refused(marian, targets):
    with pytest.raises(InputError, match="calibration needs as many targets as texts; one of the two ended first"):
        calibrate(marian, TEXTS, targets)


def test_targets_for_a_decoder_only_model_are_refused(llama):
    with pytest.raises(
        InputError, match="is a decoder-only model; calibration takes targets for translation models only"
    ):
        calibrate(llama, ["a"], ["b"])


def test_a_quantised_bundle_is_refused(embedded_int8: Path):
    with pytest.raises(InputError, match="is int8; calibration takes an fp32 bundle"):
        calibrate(embedded_int8, ["Good morning!"])
