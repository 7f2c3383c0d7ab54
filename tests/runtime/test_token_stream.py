"""Pieces are whole characters and together the text, however it is cut into tokens; stop strings end it."""

import itertools

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.hub_tokenizer import HubTokenizer
from edgekit.runtime.token_stream import TokenStream, decode
from tests.runtime.causal_lm_bundles import TEXTS, TOKENIZERS, byte_level

TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(TEXTS)


@pytest.fixture(scope="module", params=TOKENIZERS)
def pair(request, tmp_path_factory):
    """One of each kind: ours, and the library's."""
    theirs = TOKENIZERS[request.param]()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    theirs.save(str(path))
    return HubTokenizer.load(path, theirs.get_vocab_size()), theirs


class Letters:
    """A tokenizer of one byte a token, to see stop strings alone."""

    leading_strip = None

    def token_bytes(self, token_id, is_first=False):
        return bytes([token_id])


def pieces_of(text, stop=(), size=1):
    """What comes of ``text`` when tokens are ``size`` bytes, and whether it was stopped."""

    class Chunks(Letters):
        def token_bytes(self, token_id, is_first=False):
            return text.encode()[token_id * size : (token_id + 1) * size]

    stream = TokenStream(Chunks(), stop)
    pieces = [stream.push(index) for index in range(-(-len(text.encode()) // size))]
    return [piece for piece in [*pieces, stream.finish()] if piece], stream.stopped


@given(TEXT)
@settings(max_examples=60, deadline=None)
def test_decoding_is_the_librarys(pair, text):
    ours, theirs = pair
    ids = ours.encode(text)
    assert decode(ours, ids) == theirs.decode(ids)


@given(st.lists(st.integers(0, 299), max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_ids_have_a_text_that_is_the_librarys_where_it_is_utf8(pair, ids):
    ours, theirs = pair
    found, expected = decode(ours, ids), theirs.decode(ids)
    # Of a run of bytes that is no text as a whole, the library keeps no character.
    assert found == expected or ("\ufffd" in expected and "\ufffd" in found)


@given(st.lists(st.integers(0, 310), max_size=40), st.lists(st.text("ab e\ufffd", min_size=1, max_size=3), max_size=2))
@settings(max_examples=100, deadline=None)
def test_pieces_joined_are_the_text_up_to_the_first_stop(pair, ids, stop):
    ours, _ = pair
    for at_start in (True, False):
        whole = TokenStream(ours, at_start=at_start)
        text = "".join([*map(whole.push, ids), whole.finish()])
        stream = TokenStream(ours, stop, at_start=at_start)
        pieces = [*map(stream.push, ids), stream.finish()]
        ends = [(text.find(one) + len(one), text.find(one)) for one in stop if one in text]
        assert "".join(pieces) == (text[: min(ends)[1]] if ends else text)
        assert stream.stopped == bool(ends)


@pytest.mark.parametrize("text", ["😀", "👩‍👩‍👧‍👦 x", "Größe", "日本語テキスト", "a😀b🏳️‍🌈", "é", "\U0010ffff"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pieces_are_whole_characters(text, size):
    pieces, _ = pieces_of(text, size=size)
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_each_character_comes_with_the_token_that_completes_it():
    stream = TokenStream(Letters())
    assert [stream.push(byte) for byte in "a😀é".encode()] == ["a", "", "", "", "😀", "", "é"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xf0\x9f\x98", "\ufffd"),  # an emoji that ends too soon
        (b"a\xffb", "a\ufffdb"),
        (b"\xe6\x97a", "\ufffda"),
        (b"\xf0\x9f\x98\xf0\x9f\x98\x80", "\ufffd😀"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate
        (b"\xc0\x80", "\ufffd\ufffd"),
    ],
)
def test_bytes_that_are_no_character_are_replaced(data, text):
    assert decode(Letters(), data) == text


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["four"], "one two three"),
        ("aaab", ["aab"], "a"),
        ("ababac", ["abac"], "ab"),
        ("one\n\nUser: hi", ["\n\nUser:", "</s>"], "one"),
        ("abcd", ["bc", "abcd"], "a"),  # the first to be complete, though the other began before
        ("abcd", ["bcd", "cd"], "a"),  # both complete at once: the longer
        ("x😀y", ["😀"], "x"),
        ("stop", ["stop"], ""),
        ("almost sto", ["stop"], "almost sto"),
        ("é", ["e"], "é"),
    ],
)
def test_stop_strings_end_the_text_however_it_is_cut(text, stop, left, size):
    pieces, stopped = pieces_of(text, stop, size)
    assert "".join(pieces) == left
    assert stopped == (left != text)


def test_text_waits_only_as_long_as_it_may_be_a_stop_string():
    stream = TokenStream(Letters(), ["</s>"])
    assert [stream.push(byte) for byte in b"a<b</<</s"] == ["a", "", "<b", "", "", "</", "<", "", ""]
    assert stream.finish() == "</s"


def test_what_follows_a_stop_string_is_ignored():
    stream = TokenStream(Letters(), ["."])
    assert [stream.push(byte) for byte in b"a.b"] == ["a", "", ""]
    assert stream.finish() == ""
    assert stream.stopped


def test_an_incomplete_character_at_the_end_may_complete_a_stop_string():
    stream = TokenStream(Letters(), ["\ufffd"])
    assert stream.push(0xF0) == stream.finish() == ""
    assert stream.stopped


@pytest.mark.parametrize(
    ("kind", "own", "continued"),
    [("byte-level", " the", " the"), ("sentencepiece-bpe", "the", " the"), ("unigram", "the", " the")],
)
def test_a_texts_own_beginning_loses_the_space_that_a_continuation_keeps(tmp_path, kind, own, continued):
    tokenizer = TOKENIZERS[kind]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = HubTokenizer.load(tmp_path / "tokenizer.json", 700)
    ids = ours.encode("x the" if kind != "byte-level" else " the")
    ids = list(itertools.dropwhile(lambda index: not ours.token_bytes(index).startswith(b" t"), ids))
    streams = [TokenStream(ours, at_start=at_start) for at_start in (True, False)]
    assert ["".join(map(stream.push, ids)) for stream in streams] == [own, continued]


def test_control_tokens_have_no_text(tmp_path):
    tokenizer = byte_level()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = HubTokenizer.load(tmp_path / "tokenizer.json", 320)
    euro = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("€").ids
    # Not even between the bytes of a character.
    assert decode(ours, [1, *euro[:1], 2, *euro[1:], 0]) == "€"
