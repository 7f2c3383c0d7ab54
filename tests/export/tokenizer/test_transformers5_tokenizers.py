"""Tokenizers that transformers 5 wrote: ids and texts as it recorded them. How they were made: their README."""

import json
from pathlib import Path

import pytest

from edgekit.bundle.manifest import TokenizerFiles
from edgekit.export.sources.repository_files import MARIAN_FILES, SEQ2SEQ_FILES, SPM_FILES
from edgekit.export.tokenizer import build_marian_tokenizers
from edgekit.export.tokenizer.hub_tokenizer import read_hub_tokenizer
from edgekit.export.tokenizer.seq2seq import read_seq2seq_tokenizer
from edgekit.runtime.hub_tokenizer import HubTokenizer
from edgekit.runtime.text_tokenizer import load_text_tokenizer

FIXTURES = Path(__file__).parent / "transformers5"
SEQ2SEQ = {
    "t5": "t5",
    "mt5": "mt5",
    "pegasus": "pegasus",
    "bart": "bart",
    "mbart": "mbart",
    "mbart50": "mbart",
    "nllb": "m2m_100",
    "m2m_100": "m2m_100",
}
TEXT_MODELS = ("llama", "llama-bos", "gpt2", "qwen2")
VOCABULARY, EOS = 500, {"t5": 1, "mt5": 1, "pegasus": 1}
LANGUAGES = {"mbart": "en_XX", "mbart50": "en_XX", "nllb": "eng_Latn", "m2m_100": "en"}


def recorded(name):
    return json.loads((FIXTURES / name / "ids.json").read_text(encoding="utf-8"))


def files_of(name, names):
    return {role: FIXTURES / name / file for role, file in names.items() if (FIXTURES / name / file).is_file()}


def assert_recorded(tokenizer, name, unk):
    texts = recorded(name)
    for text, ids, decoded in zip(texts["texts"], texts["ids"], texts["decoded"], strict=True):
        assert tokenizer.encode(text) == ids, text
        if unk not in ids and "<mask>" not in text:  # transformers leaves it out of a text, edgekit doesn't
            assert tokenizer.decode(ids) == decoded, text


def loaded(text, form, unk, directory):
    path = directory / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    return load_text_tokenizer(
        path, TokenizerFiles(path.name, path.name, VOCABULARY, VOCABULARY, form), VOCABULARY, unk
    )


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_encoder_decoders_tokenizer_gives_the_recorded_ids_and_what_stands_around_them(name, tmp_path):
    files = files_of(name, {**SEQ2SEQ_FILES, "spm": SPM_FILES[1]})
    built = read_seq2seq_tokenizer(files, SEQ2SEQ[name], VOCABULARY)
    tokenizer = loaded(built.text, built.form, built.unk_token_id, tmp_path)
    assert_recorded(tokenizer, name, built.unk_token_id)
    texts = recorded(name)
    before, after = [*built.prefix], [EOS.get(name, 2)]
    if name in LANGUAGES:
        language = [built.languages.ids[LANGUAGES[name]]]
        before, after = (before, after + language) if built.languages.source == "suffix" else (language, after)
    assert [[*before, *ids, *after] for ids in texts["ids"]] == texts["whole"]


def test_marians_pieces_give_the_recorded_ids(tmp_path):
    files = files_of("marian", MARIAN_FILES)
    vocab = json.loads(files["vocab"].read_text(encoding="utf-8"))
    source, _ = build_marian_tokenizers(files["source_spm"].read_bytes(), files["target_spm"].read_bytes(), vocab)
    assert_recorded(loaded(source, "sentencepiece", vocab["<unk>"], tmp_path), "marian", vocab["<unk>"])


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_decoder_only_models_tokenizer_gives_the_recorded_ids_and_bos_only_where_it_did(name):
    files = files_of(name, {"tokenizer": "tokenizer.json", "tokenizer_config": "tokenizer_config.json"})
    found = read_hub_tokenizer(files, VOCABULARY)
    assert_recorded(HubTokenizer.load(files["tokenizer"], VOCABULARY), name, None)
    texts = recorded(name)
    before = [] if found.bos_token_id is None else [found.bos_token_id]
    assert [[*before, *ids] for ids in texts["ids"]] == texts["whole"]
    assert bool(before) == (name == "llama-bos")
