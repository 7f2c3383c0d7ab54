"""Tokenizers of encoder-decoders: ids and text equal those of transformers' tokenizers, from either kind of file."""

import json

import pytest
import transformers

from edgekit.bundle.manifest import TokenizerFiles
from edgekit.errors import SourceError
from edgekit.export.sources.repository_files import find_files
from edgekit.export.tokenizer.seq2seq import read_seq2seq_tokenizer
from edgekit.runtime.text_tokenizer import load_text_tokenizer
from tests.export.tokenizer.spm_models import sentences
from tests.graph.seq2seq_checkpoints import write_tokenizer

KINDS = {
    "t5": ("t5", "", transformers.T5TokenizerFast),
    "mt5": ("mt5", "", transformers.T5TokenizerFast),
    "pegasus": ("pegasus", "", transformers.PegasusTokenizerFast),
    "bart": ("bart", "", transformers.BartTokenizerFast),
    "mbart": ("mbart", "", transformers.MBartTokenizerFast),
    "mbart50": ("mbart", "mbart50", transformers.MBart50TokenizerFast),
    "nllb": ("m2m_100", "nllb", transformers.NllbTokenizerFast),
    "m2m_100": ("m2m_100", "", None),
}
TEXTS = [
    *(
        "",
        "Hello world.",
        "  two  spaces ",
        "summarize: a text, with: signs!",
        "Ünïcödé – “quotes” … 中文 नमस्ते",
        "a\nb\tc",
    ),
    *(
        "日本語のテキスト",
        "émigré e\u0301",
        "2,000 km² = 10½",
        "!!!!!!!!",
        "ZZZZ QQQQ",
        "x" * 60,
        "Donaudampfschifffahrt",
    ),
    *sentences("en")[300:330],
    *sentences("de")[300:330],
]
VOCABULARY = 1000


def load(files, model_type, directory):
    built = read_seq2seq_tokenizer(files, model_type, VOCABULARY)
    path = directory / "written.json"
    path.write_text(built.text, encoding="utf-8")
    names = TokenizerFiles(path.name, path.name, VOCABULARY, VOCABULARY, built.form)
    return built, load_text_tokenizer(path, names, VOCABULARY, built.unk_token_id)


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """transformers' slow tokenizer of a kind, edgekit's from the same files, and their directory."""
    model_type, variant, fast = KINDS[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    slow = write_tokenizer(model_type, directory, variant)
    for name in ("config.json", "model.safetensors"):
        (directory / name).touch()
    built, ours = load(find_files(directory, model_type), model_type, directory)
    return slow, built, ours, directory, model_type, fast


def test_ids_and_text_equal_those_of_the_slow_tokenizer(kind):
    slow, built, ours, *_ = kind
    assert built.unk_token_id == slow.unk_token_id
    for text in TEXTS:
        expected = slow(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == expected, text
        known = [index for index in expected if index != slow.unk_token_id]
        spoken = slow.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert ours.decode(known) == spoken, text


def test_what_stands_around_a_text_is_what_transformers_adds(kind):
    slow, built, ours, *_ = kind
    ids = ours.encode("A text.")
    eos = slow.eos_token_id
    if built.languages is None:
        assert [*built.prefix, *ids, eos] == slow("A text.").input_ids
        return
    source = built.languages.ids[slow.src_lang]
    around = [source, *ids, eos] if built.languages.source == "prefix" else [*ids, eos, source]
    assert around == slow("A text.").input_ids


def test_every_language_has_the_id_that_transformers_gives_it(kind):
    slow, built, *_ = kind
    if built.languages is None:
        assert not hasattr(slow, "lang_code_to_id")
        return
    tokens = {code: f"__{code}__" if len(code) < 4 else code for code in built.languages.ids}
    assert dict(built.languages.ids) == {code: slow.convert_tokens_to_ids(token) for code, token in tokens.items()}
    assert (
        len(tokens)
        == {"M2M100Tokenizer": 100, "MBartTokenizer": 25, "MBart50Tokenizer": 52, "NllbTokenizer": 202}[
            type(slow).__name__
        ]
    )
    first = type(slow).__name__ == "MBartTokenizer"
    assert (built.languages.source, built.languages.target) == (("suffix", "start") if first else ("prefix", "first"))


def test_tokenizer_json_alone_gives_the_ids_of_the_fast_tokenizer(kind, tmp_path):
    _, built, _, directory, model_type, fast_class = kind
    if fast_class is None:
        assert not (directory / "tokenizer.json").exists()
        return
    fast = fast_class.from_pretrained(directory)
    fast.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    files = {"tokenizer": tmp_path / "tokenizer.json", "tokenizer_config": directory / "tokenizer_config.json"}
    again, ours = load(files, model_type, tmp_path)
    assert again.form == "tokenizers"
    assert (again.prefix, again.languages) == (built.prefix, built.languages)
    for text in TEXTS:
        expected = fast(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == expected, text
        known = [index for index in expected if index != fast.unk_token_id]
        spoken = fast.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert ours.decode(known) == spoken, text


@pytest.mark.parametrize(
    "text", ["fill <extra_id_0> in", "<extra_id_0> and <extra_id_9>.", "a<extra_id_1>b", "<extra_id_0>"]
)
def test_sentinels_in_a_text_are_the_models_own(text, tmp_path):
    slow = write_tokenizer("t5", tmp_path)
    _, ours = load(
        {"spm": tmp_path / "spiece.model", "tokenizer_config": tmp_path / "tokenizer_config.json"}, "t5", tmp_path
    )
    assert ours.encode(text) == slow(text, add_special_tokens=False).input_ids
    assert slow.convert_tokens_to_ids("<extra_id_0>") in ours.encode(text) or "1" in text
    assert "<extra_id_9>" in ours.decode(slow("<extra_id_9>").input_ids)


@pytest.mark.parametrize("name", ["bart", "nllb"])
def test_a_mask_in_a_text_is_the_models_own_and_other_control_tokens_are_text(name, tmp_path):
    model_type, variant, _ = KINDS[name]
    slow = write_tokenizer(model_type, tmp_path, variant)
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).touch()
    _, ours = load(find_files(tmp_path, model_type), model_type, tmp_path)
    assert slow.mask_token_id in ours.encode("A <mask> text.")
    assert slow.eos_token_id not in ours.encode("A </s> text.")


def test_an_embedding_with_fewer_rows_than_tokens_is_refused(tmp_path):
    write_tokenizer("t5", tmp_path)
    files = {"spm": tmp_path / "spiece.model", "tokenizer_config": tmp_path / "tokenizer_config.json"}
    with pytest.raises(SourceError, match=r"spiece\.model: expected token ids below 305, .* found 309; are the files"):
        read_seq2seq_tokenizer(files, "t5", 305)
    write_tokenizer("m2m_100", tmp_path, "nllb")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["added_tokens_decoder"]["999"] = config["added_tokens_decoder"].pop("302")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    other = files | {"spm": tmp_path / "sentencepiece.bpe.model"}
    with pytest.raises(SourceError, match=r"expected added_tokens_decoder to have languages and <mask> from 301 on"):
        read_seq2seq_tokenizer(other, "m2m_100", VOCABULARY)
    write_tokenizer("pegasus", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"offset": "many"}), encoding="utf-8")
    with pytest.raises(SourceError, match=r"expected an offset from 4 to 4096, found 'many'"):
        read_seq2seq_tokenizer(files, "pegasus", VOCABULARY)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"extra_ids": -1}), encoding="utf-8")
    with pytest.raises(SourceError, match=r"expected 0 to 4096 extra_ids, found -1"):
        read_seq2seq_tokenizer(files, "t5", VOCABULARY)
