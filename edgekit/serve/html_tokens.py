"""HTML cut into tags, comments and text, as the HTML standard's tokenizer does (13.2.5), in linear time.

In: any text. Out: tokens that together are the text, each with its place in it. Python's own `html.parser` takes
minutes for 50 kB of ``<a <a <a``, and stumbles over ``<![``, so it is not for texts of strangers.

Simplified, where nothing depends on it here: a doctype, a CDATA section and a processing instruction end at ``>``, as
bogus comments do; what is open at the end of the text (a tag, a comment) reaches to the end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Elements whose content holds no tags (13.1.2, "Raw text elements", and 13.2.6.4 for the obsolete ones).
RAW_TEXT = frozenset({"iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"})

_NAME = re.compile(r"[a-zA-Z][^ \t\n\f\r/>]*+")
_GAP = re.compile(r"[ \t\n\f\r/]*+")
_ATTRIBUTE = re.compile(r"[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+")
_EQUALS = re.compile(r"[ \t\n\f\r]*+=[ \t\n\f\r]*+")
_UNQUOTED = re.compile(r"[^ \t\n\f\r>]*+")
_COMMENT_END = re.compile(r"--!?>")


@dataclass(frozen=True)
class Token:
    """A construct of HTML.

    Attributes:
        kind: ``start`` and ``end`` are tags; ``other`` is a comment, a doctype and the like.
        raw: The construct as it stands there.
        name: Of a tag, in lower case.
        attributes: Of a start tag: names in lower case, values unescaped.
    """

    kind: Literal["start", "end", "text", "other"]
    raw: str
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def closes_itself(self) -> bool:
        """Whether a start tag ends with ``/>``, which counts in SVG and MathML only."""
        return self.raw.endswith("/>")


def html_tokens(source: str) -> Iterator[Token]:
    """The constructs of ``source``, in order; a run of text may come in several tokens."""
    place = 0
    while place < len(source):
        if source[place] != "<":
            end = source.find("<", place)
            end = len(source) if end < 0 else end
            yield Token("text", source[place:end])
        else:
            token = _construct(source, place)
            yield token
            end = place + len(token.raw)
            if token.kind == "start" and token.name in RAW_TEXT:
                content = source[end : _raw_text_end(source, end, token.name)]
                yield Token("text", content)
                end += len(content)
        place = end


def _construct(source: str, place: int) -> Token:
    """What begins with the ``<`` at ``place``."""
    following = source[place + 1 : place + 2]
    if following == "/":
        if name := _NAME.match(source, place + 2):
            end, _ = _tag_end(source, name.end())
            return Token("end", source[place:end], name[0].lower())
        is_text = place + 2 >= len(source)
        return Token("text" if is_text else "other", source[place : _end_after(source, ">", place + 2)])
    if name := _NAME.match(source, place + 1):
        end, attributes = _tag_end(source, name.end())
        return Token("start", source[place:end], name[0].lower(), attributes)
    if source.startswith("<!--", place):
        closing = _COMMENT_END.search(source, place + 2)
        return Token("other", source[place : closing.end() if closing else len(source)])
    if following in {"!", "?"}:
        return Token("other", source[place : _end_after(source, ">", place + 2)])
    return Token("text", "<")


def _tag_end(source: str, place: int) -> tuple[int, dict[str, str]]:
    """Where the tag ends whose name ends at ``place``, and its attributes; of two of a name, the first counts."""
    attributes: dict[str, str] = {}
    while True:
        place = _match_end(_GAP, source, place)
        if place >= len(source):
            return len(source), {}
        if source[place] == ">":
            return place + 1, attributes
        end = _match_end(_ATTRIBUTE, source, place)
        name, value = source[place:end].lower(), ""
        place = end
        if equals := _EQUALS.match(source, place):
            place = equals.end()
            quote = source[place : place + 1]
            if quote in {'"', "'"}:
                end = _end_after(source, quote, place + 1)
                value = source[place + 1 : end - 1]
            else:
                end = _match_end(_UNQUOTED, source, place)
                value = source[place:end]
            place = end
        attributes.setdefault(name, html.unescape(value))


def _end_after(source: str, mark: str, place: int) -> int:
    found = source.find(mark, place)
    return len(source) if found < 0 else found + len(mark)


def _match_end(pattern: re.Pattern[str], source: str, place: int) -> int:
    match = pattern.match(source, place)
    return match.end() if match else place


def _raw_text_end(source: str, place: int, name: str) -> int:
    end_tag = re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.IGNORECASE | re.ASCII).search(source, place)
    return end_tag.start() if end_tag else len(source)
