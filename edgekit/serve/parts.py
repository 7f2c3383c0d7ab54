"""A text as parts, some of which are translated and the others kept: its lines, and the white space around them.

In: a text. Out: parts that together are the text. A line is translated as it is, so line breaks, blank lines and
indentation come back where they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """A part of a document.

    Attributes:
        raw: The part as it stands there.
        text: What is translated instead; None where the part is kept.
    """

    raw: str
    text: str | None = None


def text_parts(text: str) -> list[Part]:
    """The lines of a plain text: ``" a\\n\\nb"`` gives a space, ``a``, two breaks, ``b``."""
    return [part for line in text.splitlines(keepends=True) for part in _line_parts(line)]


def join(parts: Sequence[Part], translations: Iterator[str]) -> str:
    """The document with its texts replaced, each by the next of ``translations``."""
    return "".join(part.raw if part.text is None else next(translations) for part in parts)


def _line_parts(line: str) -> Iterator[Part]:
    start = len(line) - len(line.lstrip())
    end = max(start, len(line.rstrip()))
    yield from (Part(space) for space in (line[:start],) if space)
    if start < end:
        yield Part(line[start:end], line[start:end])
    yield from (Part(space) for space in (line[end:],) if space)
