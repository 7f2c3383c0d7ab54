"""A text as the parts that are translated and those that are kept: its sentences, and the white space around them.

In: a text of any length. Out: parts that together are the text. Line breaks, blank lines and indentation are kept where
they are, and so is a part without a letter or digit (a row of dashes, an emoji). Models are trained on sentences: one
that is given several at once leaves some out (benchmarks/documents).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from edgekit.errors import InputError
from edgekit.runtime.sentences import sentence_starts

# From a line without a break at its end to its sentences, which together are the line.
SentenceSplitter = Callable[[str], Iterable[str]]


class Part(NamedTuple):
    """A part of a text, and whether it is translated."""

    text: str
    is_translated: bool


def split_document(text: str, split: SentenceSplitter) -> list[Part]:
    """The parts of a text, in order, none empty: ``" A b.\\n\\nC."`` gives a space, ``A b.``, two breaks, ``C.``.

    Args:
        text: Any text.
        split: Cuts a line into sentences; see `line_splitter`.

    Raises:
        InputError: ``split`` returned something else than the line's sentences.
    """
    parts: list[Part] = []
    for line in text.splitlines(keepends=True):
        for sentence in _checked(line, split):
            for part in _parts(sentence):
                if parts and not part.is_translated and not parts[-1].is_translated:
                    parts[-1] = Part(parts[-1].text + part.text, False)
                else:
                    parts.append(part)
    return parts


def line_splitter(language: str | None) -> SentenceSplitter:
    """Rules of edgekit's own (`edgekit.runtime.sentences`) for a language's code."""

    def split(line: str) -> list[str]:
        starts = sentence_starts(line, language)
        return [line[start:end] for start, end in pairwise([*starts, len(line)])]

    return split


def _checked(line: str, split: SentenceSplitter) -> list[str]:
    body = line.rstrip("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
    if not is_translatable(body):
        return [line]
    found = list(split(body))
    if not all(isinstance(sentence, str) for sentence in found) or not _is_all_of(body, found):
        raise InputError(
            f"split must cut a line into sentences that together are the line, found {found[:3]!a} of {body[:60]!a}"
        )
    # Splitters differ in where they leave the white space between sentences: it is looked up in the line.
    sentences: list[str] = []
    position = 0
    for sentence in (sentence.strip() for sentence in found):
        if sentence:
            end = line.index(sentence, position) + len(sentence)
            sentences.append(line[position:end])
            position = end
    return [*sentences, line[position:]]


def _is_all_of(line: str, sentences: list[str]) -> bool:
    return "".join("".join(sentences).split()) == "".join(line.split())


def _parts(sentence: str) -> Iterator[Part]:
    """White space, the sentence, white space."""
    body = sentence.strip()
    if not is_translatable(body):
        if sentence:
            yield Part(sentence, False)
        return
    start = len(sentence) - len(sentence.lstrip())
    for text, translated in ((sentence[:start], False), (body, True), (sentence[start + len(body) :], False)):
        if text:
            yield Part(text, translated)


def is_translatable(text: str) -> bool:
    """Whether there is a letter or digit in it."""
    return any(character.isalnum() for character in text)
