"""Where a long text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.segment import split_text


def at_most(size):
    return lambda text: len(text) <= size


def test_a_text_that_fits_stays_whole():
    assert split_text("One. Two. Three.", at_most(16)) == ["One. Two. Three."]


def test_cut_at_the_end_of_a_sentence_near_the_middle():
    assert split_text("One two, three. Four five, six.", at_most(20)) == ["One two, three.", "Four five, six."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He said "no." She said "yes."', ['He said "no."', 'She said "yes."']),
        ("Is it you? It is me, I am here.", ["Is it you?", "It is me, I am here."]),
        ("first line of text\nsecond line, of text", ["first line of text", "second line, of text"]),
        ("你好，世界。 很高兴认识你。", ["你好，世界。", "很高兴认识你。"]),
        ("Wait for it… then go, come back", ["Wait for it…", "then go, come back"]),
    ],
)
def test_sentence_ends_of_several_languages(text, expected):
    assert split_text(text, at_most(len(text) - 1)) == expected


def test_without_a_sentence_end_at_a_comma():
    assert split_text("one two three, four five six", at_most(20)) == ["one two three,", "four five six"]


def test_without_a_comma_at_a_space():
    assert split_text("one two three four", at_most(12)) == ["one two", "three four"]


def test_one_word_is_cut_in_the_middle():
    assert split_text("abcdefghij", at_most(3)) == ["ab", "cde", "fg", "hij"]


def test_an_end_far_from_the_middle_is_left_alone():
    """'A.' would be a scrap: its comma-separated rest is cut near the middle instead."""
    assert split_text("A. bcdefgh ijklmno, pqrstuv wxyz", at_most(24)) == ["A. bcdefgh ijklmno,", "pqrstuv wxyz"]


def test_a_single_character_counts_as_fitting():
    assert split_text("ab", lambda text: False) == ["a", "b"]


def test_pieces_of_white_space_are_dropped():
    assert split_text("a" + " " * 30 + "b", at_most(5)) == ["a", "b"]
    assert split_text(" " * 50, at_most(5)) == []


@given(st.text(alphabet=st.sampled_from("ab. ,\n;。！é😀"), max_size=200), st.integers(1, 30))
def test_nothing_but_white_space_is_lost_and_every_piece_fits(text, size):
    pieces = split_text(text, at_most(size))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= size for piece in pieces)


def test_a_million_characters_without_a_boundary_are_cut_without_deep_recursion():
    pieces = split_text("x" * 1_000_000, at_most(1000))
    assert sum(map(len, pieces)) == 1_000_000
    assert len(pieces) == 1024
