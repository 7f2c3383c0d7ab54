"""The C example against edgekit: ids in, ids out; refusals; and its header against onnxruntime's own."""

import json
import shutil

import pytest

from tests.examples.programs import BUILD, need, run, sentences, translator


def c(bundle, text):
    return run(need(BUILD / "translate_ids"), bundle, text=text)


def lines(rows):
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize(("bundle", "pair"), [("marian-en-de-int8", "en-de"), ("firefox-en-pt-int8", "en-pt")])
def test_ids_equal_edgekits(bundle, pair):
    model = translator(bundle)
    eos = model.manifest.generation.eos_token_id
    rows = [[*ids, eos] for ids in model.source_tokenizer.encode_batch(sentences(pair, 60))]
    assert len({len(row) % 4 for row in rows}) == 4  # every amount of padding
    result = c(need(BUILD / bundle), lines(rows))
    assert result.returncode == 0, result.stderr
    assert result.stdout == lines(model.generate_ids(rows))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("5 32000 0", "translate_ids: 32000: an id outside the vocabulary"),
        ("-1 0", "translate_ids: -1: an id outside the vocabulary"),
        (" ".join(["5"] * 129), "translate_ids: a sentence: longer than the model takes"),
        ("", "translate_ids: a sentence: no ids"),
    ],
)
def test_ids_that_the_model_does_not_take_are_refused(ids, message):
    result = c(need(BUILD / "firefox-en-pt-int8"), ids + "\n")
    assert result.returncode == 1
    assert result.stderr == message + "\n"


def changed_manifest(directory, **changes):
    bundle = shutil.copytree(need(BUILD / "firefox-en-pt-int8"), directory / "bundle")
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (bundle / "bundle.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return bundle


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "bundle.json: not version 1"),
        ({"kind": "causal-lm"}, "bundle.json: not seq2seq"),
        ({"generation": None}, "bundle.json has no usable: start_token_id"),
        ({"shortlist": {"file": "shortlist.npz", "first": 99999}}, "the shortlist: damaged"),
    ],
)
def test_a_manifest_that_it_cannot_use_is_refused(tmp_path, changes, message):
    result = c(changed_manifest(tmp_path, **changes), "38 0\n")
    assert result.returncode == 1
    assert result.stderr == f"translate_ids: {message}\n"


@pytest.mark.parametrize("text", ["", "{", '{"kind": "seq2seq"', "[1,]", '{"a" 1}', "nul", '"\\', "[" * 1000])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "bundle.json").write_text(text, encoding="utf-8")
    result = c(tmp_path, "38 0\n")
    assert result.returncode == 1
    assert result.stderr == "translate_ids: bundle.json: not JSON\n"


@pytest.mark.parametrize("keep", [0, 21, 22, 200, 128_000, 1_000_000, -1])
def test_a_shortlist_cut_anywhere_is_refused(tmp_path, keep):
    bundle = changed_manifest(tmp_path)
    path = bundle / "shortlist.npz"
    path.write_bytes(path.read_bytes()[:keep])
    result = c(bundle, "38 0\n")
    assert result.returncode == 1
    assert result.stderr == "translate_ids: the shortlist: damaged\n"
