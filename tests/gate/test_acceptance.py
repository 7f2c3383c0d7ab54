"""`edgekit export|quantize --max-loss`, as a user runs them: a bundle within its budget is kept, and no other."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest

from edgekit.bundle.read import open_bundle
from edgekit.bundle.write import write_manifest
from edgekit.errors import QualityError
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.gate.acceptance import accept
from edgekit.gate.budget import Budget
from edgekit.graph.weights_file import WEIGHTS_FILE, stored_tensors
from tests.cli.command import assert_fails, edgekit_here
from tests.graph.marian_checkpoints import make_marian, save_marian
from tests.runtime.causal_lm_bundles import TEXTS, byte_level, write_text_bundle


@pytest.fixture(scope="module")
def tiny_fp32(tmp_path_factory, llama_case):
    """A decoder-only model with random weights."""
    directory = tmp_path_factory.mktemp("tiny") / "tiny-fp32"
    write_text_bundle(directory, llama_case, byte_level())
    return directory


@pytest.fixture(scope="module")
def tiny_translator(tmp_path_factory):
    """A MarianMT with random weights."""
    directory = tmp_path_factory.mktemp("translator")
    save_marian(make_marian(max_position_embeddings=512), directory / "model")
    return export_checkpoint(read_directory(directory / "model", "marian-en-de"), "fp32", directory / "fp32")


@pytest.fixture(scope="module")
def long_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text("\n".join(TEXTS * 12), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def short_pairs(tmp_path_factory):
    """A hundred short sentences and their translations."""
    path = tmp_path_factory.mktemp("pairs") / "mine.tsv"
    names, days = ("Tom", "Mary", "My brother", "The teacher", "She"), ("today", "now", "here", "again")
    verbs = {"sleeps": "schläft", "sings": "singt", "works": "arbeitet", "eats": "isst", "waits": "wartet"}
    lines = [f"{name} {verb} {day}.\t{name} {german} {day}." for name in names for day in days
             for verb, german in verbs.items()]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def doubled(bundle, path, *layers):
    """A copy of an int8 bundle in which these layers' scales are twice what they should be."""
    shutil.copytree(bundle, path)
    data = bytearray((path / WEIGHTS_FILE).read_bytes())
    for layer in layers:
        at = stored_tensors(path)[f"{layer}.weight_scale"]
        part = slice(at.offset, at.offset + at.length)
        data[part] = (np.frombuffer(bytes(data[part]), np.float32) * 2).tobytes()
    (path / WEIGHTS_FILE).write_bytes(bytes(data))
    write_manifest(path, open_manifest(bundle))
    return path


def open_manifest(bundle):
    return open_bundle(bundle).manifest


def test_a_bundle_within_its_budget_is_kept_with_what_was_measured(embedded_fp32, short_pairs, tmp_path):
    budgets = ("--max-loss", "chrf=3", "--max-loss", "kl=0.01")
    done = edgekit_here("quantize", embedded_fp32, *budgets, "--dev", short_pairs, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "marian-en-de-int8\n"), done.stderr
    assert re.fullmatch(
        r"int8: activation scales calibrated on 64 sentences of edgekit's development text valid\n"
        r"loses -?\d\.\d\d chrF \[-?\d\.\d\d, -?\d\.\d\d\] on mine \(100 sentences\): within chrf=3\n"
        r"loses 0\.\d{4} nats of KL divergence a token \[0\.\d{4}, 0\.\d{4}\] on mine \(100 sentences\): "
        r"within kl=0\.01\n",
        done.stderr,
    )
    assert os.listdir(tmp_path) == ["marian-en-de-int8"]
    measured = open_manifest(tmp_path / "marian-en-de-int8").measured
    gate = measured["gate"]
    assert measured["calibration"]["texts"] == 64, "what is measured adds to what was calibrated on"
    assert (gate["development_text"], gate["looks"], gate["chrf"]["verdict"], gate["kl"]["items"]) == (
        "mine", 1, "passed", 100,
    )  # fmt: skip
    done = edgekit_here("inspect", tmp_path / "marian-en-de-int8")
    assert "gate.kl.verdict" in done.stdout
    assert edgekit_here("verify", tmp_path / "marian-en-de-int8").returncode == 0


def test_doubled_scales_are_caught_and_the_layer_is_named(embedded_fp32, embedded_int8, short_pairs, tmp_path):
    broken = doubled(embedded_int8, tmp_path / "broken", "decoder.layers.1.cross_attention.key_value")
    unit = "nats of KL divergence a token"
    match = (
        rf"^marian-en-de in int8 loses 0\.\d+ {unit} \[.*\] on mine \(100 sentences\), the budget is kl=0\.02: "
        rf"over it by at least 0\.\d+ {unit}\. The costliest tensors, in nats of KL divergence alone: "
        r"decoder\.layers\.1\.cross_attention\.key_value 0\.\d+, .*, .*\. Try --search, which keeps such tensors in "
        r"more bits, another --scheme, or --max-loss kl=.*; nothing was kept$"
    )
    with pytest.raises(QualityError, match=match):
        accept(embedded_fp32, broken, [Budget("kl", 0.02)], str(short_pairs))


def test_ten_sentences_are_undecided_and_nothing_is_kept(tiny_translator, short_pairs, tmp_path):
    (tmp_path / "ten.tsv").write_text("".join(short_pairs.open(encoding="utf-8").readlines()[:10]), encoding="utf-8")
    options = ("--max-loss", "chrf=0.3", "--dev", "ten.tsv", "--scheme", "int8-dynamic")
    done = edgekit_here("quantize", tiny_translator, *options, cwd=tmp_path)
    assert_fails(
        done,
        1,
        "undecided: marian-en-de in int8 loses",
        "on ten (10 sentences), and the budget is chrf=0.3; fewer than 100 sentences decide nothing: give more "
        "development text with --dev FILE, or a larger budget; nothing was kept",
    )
    assert os.listdir(tmp_path) == ["ten.tsv"]


def test_a_bundle_that_is_not_accepted_replaces_nothing(tiny_fp32, long_text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert edgekit_here("quantize", tiny_fp32, "--precision", "int4").returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tiny-int4").iterdir()}
    done = edgekit_here(
        "quantize", tiny_fp32, "--precision", "int4", "--force", "--max-loss", "kl=0.000001", "--dev", long_text
    )
    assert_fails(done, 1, "tiny in int4 loses 0.", "the budget is kl=1e-06: over it by at least", "layers.")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tiny-int4").iterdir()} == before
    assert os.listdir(tmp_path) == ["tiny-int4"]


def test_perplexity_and_divergence_of_a_decoder_only_model(tiny_fp32, long_text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = edgekit_here("quantize", tiny_fp32, "--max-loss", "ppl=5%", "--max-loss", "kl=0.1", "--dev", long_text)
    assert (done.returncode, done.stdout) == (0, "tiny-int8\n"), done.stderr
    assert "% of perplexity [" in done.stderr
    measured = open_manifest(tmp_path / "tiny-int8").measured["gate"]
    assert (measured["ppl"]["unit"], measured["ppl"]["verdict"]) == ("windows", "passed")
    assert 0 < measured["kl"]["loss"] < 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-loss", "chrf=abc"], "a budget of chrf is a number above 0, such as chrf=0.3; found 'chrf=abc'"),
        (["--max-loss", "chrf=-1"], "a budget of chrf is a number above 0"),
        (["--max-loss", "comet=1"], "unknown budget 'comet=1': expected one of chrf=0.3"),
        (["--max-loss", "ppl=1%"], "a model for translation has no ppl"),
        (["--max-loss", "chrf=1", "--max-loss", "chrf=2"], "the budget of chrf is given twice"),
        (["--search"], "--search needs a budget, such as --max-loss chrf=0.3"),
        (["--search", "--scheme", "int8", "--max-loss", "kl=1"], "--search chooses a scheme for each tensor"),
        (["--dev", "mine.tsv"], "--dev gives text to --max-loss, --search and --scheme; give one of them, too"),
        (["--max-loss", "chrf=1", "--dev", "nothing.tsv"], 'no development set "nothing.tsv" for en-de'),
        (["--scheme", "int3"], "a seq2seq model has the schemes"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(embedded_fp32, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    assert_fails(edgekit_here("quantize", embedded_fp32, *options), 1, words)
    assert os.listdir(tmp_path) == []


def test_export_measures_what_it_made_and_leaves_no_fp32_bundle(short_pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = edgekit_here(
        "export", "marian-en-de", "--source", "embedded", "-o", "mine", "--scheme", "int8-dynamic",
        "--max-loss", "kl=0.01", "--dev", short_pairs,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
    assert os.listdir(tmp_path) == ["mine"]
    assert open_manifest(tmp_path / "mine").measured["gate"]["kl"]["verdict"] == "passed"
    done = edgekit_here("export", "marian-en-de", "--precision", "fp32", "--max-loss", "kl=1", "-o", "other")
    assert_fails(
        done, 1, "--scheme, --max-loss and --search are for int8 and int4; fp32 is what these are compared with"
    )


def test_a_manifest_with_what_was_measured_is_read_back(embedded_int8, tmp_path):
    copied = shutil.copytree(embedded_int8, tmp_path / "copied")
    measured = {"gate": {"chrf": {"loss": 0.5}}}
    write_manifest(copied, dataclasses.replace(open_manifest(embedded_int8), measured=measured))
    assert open_manifest(copied).measured == measured
