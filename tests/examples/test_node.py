"""The Node example against edgekit: translations, its tokenizer on all that a tokenizer.json may say, refusals."""

import json
import random
import shutil

import pytest

from edgekit.export.tokenizer import build_tokenizer, vocab_size
from edgekit.runtime.tokenizer import Tokenizer
from tests.examples.programs import (
    BUILD,
    EXAMPLES,
    ODD_LINES,
    ROOT,
    expected,
    need,
    need_program,
    output,
    run,
    sentences,
)
from tests.export.tokenizer.spm_models import ODD_TEXTS, TRAINED, trained
from tests.export.tokenizer.spm_models import sentences as real_sentences

TRANSLATE = EXAMPLES / "node" / "translate.js"


def node(bundle, text):
    need(EXAMPLES / "node" / "node_modules" / "onnxruntime-node")
    return run(need_program("node"), TRANSLATE, bundle, text=text)


@pytest.mark.parametrize(("bundle", "pair"), [("marian-en-de-int8", "en-de"), ("firefox-en-pt-int8", "en-pt")])
def test_translations_equal_edgekits(bundle, pair):
    texts = (*sentences(pair, 60), *ODD_LINES)
    result = node(need(BUILD / bundle), "".join(f"{text}\n" for text in texts))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:-1] == list(expected(bundle, texts))


@pytest.mark.parametrize("name", TRAINED)
def test_the_tokenizer_equals_edgekits(name, tmp_path):
    text = build_tokenizer(trained(name))
    path = tmp_path / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    assert_equal_tokenizers(path, vocab_size(text), None)


def test_ids_beyond_what_the_model_knows_are_unknown(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(build_tokenizer(trained("unigram")), encoding="utf-8")
    assert_equal_tokenizers(path, 300, 7)


def test_the_tokenizer_equals_edgekits_for_a_marian_vocabulary_with_language_codes(tmp_path):
    document = json.loads(need(BUILD / "marian-en-de-int8" / "tokenizer.json").read_text(encoding="utf-8"))
    document["model"]["sentencepiece"]["language_codes"] = {">>de<<": 17, ">>x\ny<<": 18}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    codes = [">>de<<Hello", ">>de<< Hello", " >>de<<Hello", ">>fr<<Hello", ">>x\ny<<Hello", ">>de<<", ">>toString<<"]
    assert_equal_tokenizers(path, 8000, 1, codes)


def assert_equal_tokenizers(path, size, unknown, more_texts=()):
    tokenizer = Tokenizer.load(path, size, unknown)
    choose = random.Random(8)
    ids = [[choose.randrange(size + 5) for _ in range(choose.randrange(12))] for _ in range(200)]
    texts = [*ODD_TEXTS, *real_sentences("de")[::20], *more_texts]
    document = json.loads(path.read_text(encoding="utf-8"))
    request = json.dumps({"file": document, "size": size, "unknown": unknown, "texts": texts, "ids": ids})
    found = json.loads(output(need_program("node"), ROOT / "tests" / "examples" / "tokenize.mjs", text=request))
    assert found["encoded"] == tokenizer.encode_batch(texts)
    assert found["decoded"] == [tokenizer.decode(row) for row in ids]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 2, "schema version 2; expected 1"),
        ("kind", "causal-lm", "a causal-lm bundle; expected seq2seq"),
    ],
)
def test_a_bundle_of_another_version_or_kind_is_refused(tmp_path, key, value, message):
    bundle = shutil.copytree(need(BUILD / "marian-en-de-int8"), tmp_path / "bundle")
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (bundle / "bundle.json").write_text(json.dumps(manifest | {key: value}), encoding="utf-8")
    result = node(bundle, "Hello.\n")
    assert result.returncode == 1
    assert message in result.stderr


def test_a_text_longer_than_the_model_takes_is_refused():
    result = node(need(BUILD / "firefox-en-pt-int8"), "word " * 200 + "\n")
    assert result.returncode == 1
    assert "201 tokens; this model takes 128: cut the text at sentence ends" in result.stderr
