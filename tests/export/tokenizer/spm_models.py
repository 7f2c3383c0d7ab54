"""SentencePiece models trained in the test session, real sentences, and texts on which tokenizers differ."""

import functools
import gzip
import io
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from edgekit.export.tokenizer import build_tokenizer, vocab_size
from edgekit.runtime.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]
MARIAN = ROOT / "models" / "marian-en-de"
TEST_SETS = ROOT / "edgekit" / "quality" / "testsets"

SYMBOLS = ["<sep>", "@@", "Tom", "ab", "▁x", "é€", "..."]
# What SentencePieceTrainer is told besides vocab_size; a rare character is unknown in all of them.
TRAINED = {
    "unigram": {},
    "unigram-bytes": {
        "byte_fallback": True,
        "user_defined_symbols": SYMBOLS,
        "normalization_rule_name": "identity",
    },
    "unigram-suffix": {"treat_whitespace_as_suffix": True, "normalization_rule_name": "nfkc_cf"},
    "unigram-raw-spaces": {
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
    },
    "unigram-over-spaces": {"split_by_whitespace": False},
    "bpe": {"model_type": "bpe", "normalization_rule_name": "nfkc", "remove_extra_whitespaces": False},
    "bpe-bytes": {
        "model_type": "bpe",
        "byte_fallback": True,
        "user_defined_symbols": SYMBOLS,
        "normalization_rule_name": "nmt_nfkc_cf",
    },
}

ODD_TEXTS = [
    *("", " ", " \t\n ", "\x00", "\x01", "\u200b", "\ufeff", "▁", "▁▁", "a▁b", "▁a ▁", "a  b", "  a  b  ", "a\tb\r\nc"),
    *(
        "a\u00a0b\u3000c\u2028d",
        "so\u00adft",
        "Ａ１！",
        "ﬁﬂ",
        "㍿ Ⅷ ½ ℡ ﷺ",
        "¨ ´a",
        "e\u0301\u0308",
        "\u0301a",
        "\u1100\u1161\u11a8",
    ),
    *(
        "か\u3099は\u309a",
        "😀",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "a\u200db\u200c",
        "ไทยเด็ก",
        "नमस्ते",
        "中文字",
        "İıſςẞ",
        "\ufffd",
        "\U0010ffff",
    ),
    *(
        "</s>",
        "<s>",
        "<unk>",
        "<pad>",
        "a </s> b",
        "<0x41>",
        "<0xE2><0x82><0xAC>",
        "<0x4",
        "<sep>a<sep>",
        "T@@@om..",
        "abab",
    ),
    *("WWW", "IEEE", "!!!!!!!", "....", "------------", "hahahahaha", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    *("x" * 3000, "Donaudampfschifffahrtsgesellschaftskapitän" * 20, "é" * 500, "word " * 500),
]


@functools.cache
def sentences(language: str) -> list[str]:
    """2,000 real sentences of flores-dev and Tatoeba (attribution: edgekit/quality/testsets/ATTRIBUTION.md)."""
    pair, column = {"en": ("en-de", 0), "de": ("en-de", 1), "pt": ("en-pt", 1)}[language]
    lines = []
    for name in ("flores-dev", "tatoeba"):
        with gzip.open(TEST_SETS / f"{name}.{pair}.tsv.gz", "rt", encoding="utf-8", newline="\n") as file:
            lines += [line.rstrip("\n").split("\t")[column] for line in file]
    return lines[:2000]


@functools.cache
def trained(name: str) -> bytes:
    """A model of 700 pieces; the characters that one text in fifty has are unknown to it."""
    out = io.BytesIO()
    options = {"model_type": "unigram", "vocab_size": 700, "character_coverage": 0.98} | TRAINED[name]
    texts = [text for language in ("en", "de", "pt") for text in sentences(language)[:400]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, num_threads=1, minloglevel=2, **options
    )
    return out.getvalue()


def parse(spm: bytes):
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(spm)
    return model


def changed(spm: bytes, change) -> bytes:
    """A copy of a model after ``change(proto)``."""
    model = parse(spm)
    change(model)
    return model.SerializeToString()


def load(tokenizer_json: str, path: Path, size: int | None = None, unk_id: int | None = None) -> Tokenizer:
    path.write_text(tokenizer_json, encoding="utf-8")
    return Tokenizer.load(path, vocab_size(tokenizer_json) if size is None else size, unk_id)


def both(spm: bytes, directory: Path) -> tuple[Tokenizer, sentencepiece.SentencePieceProcessor]:
    """edgekit's tokenizer and SentencePiece's own, of one model."""
    tokenizer = load(build_tokenizer(spm), directory / "tokenizer.json")
    return tokenizer, sentencepiece.SentencePieceProcessor(model_proto=spm)
