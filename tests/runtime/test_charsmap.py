"""Charsmap rules against SentencePiece's own normaliser, and blobs that lie."""

import base64
import io
import json
import random
import struct
import unicodedata

import pytest
import sentencepiece

from edgekit.export.tokenizer import build_tokenizer
from edgekit.runtime.charsmap import Charsmap
from tests.export.tokenizer.spm_models import ODD_TEXTS, changed, parse, sentences, trained


def plain_normaliser(model):
    """Leaves SentencePiece with the rules alone."""
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = False


@pytest.fixture(scope="module", params=["unigram", "bpe", "bpe-bytes", "unigram-suffix"])
def rules(request):
    """Charsmap.apply and SentencePiece's normalize with nmt_nfkc, nfkc, nmt_nfkc_cf (with symbols) and nfkc_cf."""
    model = parse(trained(request.param))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=changed(trained(request.param), plain_normaliser))
    symbols = tuple(piece.piece for piece in model.pieces if piece.type == 4)
    return Charsmap(model.normalizer_spec.precompiled_charsmap, symbols).apply, theirs.normalize


def test_every_character_alone_and_after_a_letter_is_as_in_sentencepiece(rules):
    apply, normalize = rules
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(f"e{char}." for char in characters[start : start + 64]) for start in range(0, len(characters), 64)]
    assert [apply(text) for text in texts] == [normalize(text) for text in texts]


def test_sequences_of_characters_that_combine_are_as_in_sentencepiece(rules):
    apply, normalize = rules
    rng = random.Random(0)
    codes = [code for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    combining = [c for c in map(chr, codes) if unicodedata.combining(c) or unicodedata.decomposition(c)]
    pool = [*combining, *"aeiouAEIOU \t\u200d\ufeff\u00ad\u1100\u1161\u11a8" * 60, "Tom", "ab", "..."]
    texts = ["".join(rng.choices(pool, k=rng.randrange(12))) for _ in range(20_000)]
    assert [apply(text) for text in texts] == [normalize(text) for text in texts]


def test_real_and_odd_texts_are_as_in_sentencepiece(rules):
    apply, normalize = rules
    for text in sentences("de")[:500] + ODD_TEXTS:
        assert apply(text) == normalize(text)


def test_the_longest_rule_wins_and_is_applied_once(tmp_path):
    """Rules of one's own, two characters of ASCII among them: no character that begins one counts as plain."""
    rules = {"-": "+", "--": "—", "---": "=", "ab": "ba", "b": "", "xy": "z", "é": "e", "e\u0301x": "y"}
    table = tmp_path / "rules.tsv"
    hexadecimal = {" ".join(f"{ord(c):x}" for c in k): " ".join(f"{ord(c):x}" for c in v) for k, v in rules.items()}
    table.write_text("".join(f"{key}\t{value}\n" for key, value in hexadecimal.items()))
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences("en")[:200]),
        model_writer=out,
        vocab_size=300,
        hard_vocab_limit=False,
        normalization_rule_tsv=str(table),
        minloglevel=2,
        num_threads=1,
    )
    charsmap = Charsmap(parse(out.getvalue()).normalizer_spec.precompiled_charsmap)
    assert charsmap.apply("- -- --- ---- -----") == "+ — = =+ =—"
    assert charsmap.apply("abab b cab") == "baba  cba"
    assert charsmap.apply("x y xy") == "x y z"
    assert charsmap.apply("é e\u0301 e\u0301x e\u0301xx") == "e e\u0301 y yx"


def hand_made_blob(replacements: bytes = b"yes\0", leaf_value: int = 0) -> bytes:
    """One rule, a -> yes: the root's children at base 256, the leaf of "a" at base 512."""
    units = [0] * 768
    units[0] = 256 << 10
    # The offset is relative to the node: 256 ^ 0x61 is where "a" is, and its leaf is 512.
    node = 256 ^ ord("a")
    units[node] = ((node ^ 512) << 10) | 0x100 | ord("a")
    units[512] = 0x80000000 | leaf_value
    return struct.pack("<I768I", 768 * 4, *units) + replacements


def test_a_hand_made_rule_is_applied():
    assert Charsmap(hand_made_blob()).apply("banana a é") == "byesnyesnyes yes é"


def test_no_charsmap_changes_nothing():
    assert Charsmap(b"").apply("Ａ e\u0301\t") == "Ａ e\u0301\t"


def test_symbols_are_left_alone_and_the_longest_counts():
    charsmap = Charsmap(hand_made_blob(), ("na", "nan", "é"))
    assert charsmap.apply("banana é") == "byesnanyes é"
    assert Charsmap(b"", ("a",)).apply("banana") == "banana"


@pytest.mark.parametrize(
    ("blob", "found"),
    [
        (b"\0", "a charsmap of 1 bytes"),
        (b"\xff" * 7, "a charsmap of 7 bytes"),
        (struct.pack("<I", 0xFFFFFFFC) + bytes(8), "a charsmap of 12 bytes whose trie is said to take 4294967292"),
        (struct.pack("<I", 8) + bytes(8), "a charsmap of 12 bytes whose trie is said to take 8"),
        (struct.pack("<I", 3) + bytes(8), "whose trie is said to take 3"),
        (struct.pack("<I", 0) + bytes(8), "whose trie is said to take 0"),
        (struct.pack("<I", 4) + bytes(4) + b"a", "a charsmap whose last replacement has no end"),
    ],
)
def test_lengths_that_do_not_agree_are_refused(blob, found):
    with pytest.raises(ValueError, match=found):
        Charsmap(blob)


@pytest.mark.parametrize("value", [3, 4, 5, 0x7FFFFFFF])
def test_a_replacement_outside_the_blob_is_empty(value):
    assert Charsmap(hand_made_blob(leaf_value=value)).apply("ab") == "b"


def test_a_replacement_that_is_no_utf8_is_replaced():
    assert Charsmap(hand_made_blob(b"\xff\0")).apply("a") == "\ufffd"


def test_units_made_at_random_end_and_stay_inside():
    rng = random.Random(0)
    for size in (1, 2, 64, 512):
        for _ in range(50):
            units = [rng.choice([rng.getrandbits(32), rng.getrandbits(10), 0xFFFFFFFF, 0x161]) for _ in range(size)]
            blob = struct.pack(f"<I{size}I", size * 4, *units) + b"abc\0"
            assert isinstance(Charsmap(blob).apply("aé\u0301中😀 a" * 20), str)


def test_a_trie_that_goes_in_circles_is_left_soon():
    """Every unit is a node "a" whose child "a" is itself; each is a rule."""
    units = [(0x61 << 10) | 0x100 | 0x61] * 256
    blob = struct.pack("<I256I", 1024, *units) + b"x\0"
    assert len(Charsmap(blob).apply("a" * 20_000)) < 20_000


def test_the_blob_is_found_in_tokenizer_json():
    normalizer = json.loads(build_tokenizer(trained("unigram")))["normalizer"]
    blob = base64.b64decode(normalizer["normalizers"][0]["precompiled_charsmap"])
    assert Charsmap(blob).apply("Ａ") == "A"
