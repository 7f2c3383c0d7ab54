"""HTML as parts: text to translate, and markup that is kept character for character.

In: HTML, a whole page or a fragment, also broken. Out: parts that together are the input; text is unescaped for the
model, and `escape` makes HTML of its translation. Each run of text between two tags is a text of its own, so a sentence
with ``<b>`` inside is translated in pieces. Kept as they are: attributes, comments, scripts, styles, code, and elements
marked ``translate="no"`` or ``class="notranslate"``.

The parser is the standard library's, which says where each construct begins; what lies between two such places is
taken from the input itself.
"""

from __future__ import annotations

import html
import itertools
import re
from html.parser import HTMLParser
from typing import NamedTuple

from edgekit.serve.parts import Part

KEPT_ELEMENTS = frozenset({"code", "kbd", "math", "pre", "samp", "script", "style", "svg", "textarea", "var"})
# Without an end tag (HTML standard, 13.1.2, "Void elements").
VOID_ELEMENTS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
# White space of HTML (HTML standard, 13.2.6.4): a no-break space is none.
_SPACE = " \t\r\n\f"
_SPACES = re.compile(f"[{_SPACE}]+")


def html_parts(source: str) -> list[Part]:
    """Cuts HTML into markup and texts."""
    parser = _Constructs(source)
    parser.feed(source)
    parser.close()
    places = [*parser.places, _Place(len(source), False)]
    parts = [Part(source[: places[0].start])]
    for is_text, run in itertools.groupby(itertools.pairwise(places), key=lambda pair: pair[0].is_text):
        pairs = list(run)
        raw = source[pairs[0][0].start : pairs[-1][1].start]
        parts += _text_parts(raw) if is_text else [Part(raw)]
    return [part for part in parts if part.raw]


def escape(text: str) -> str:
    """Text as HTML: ``a < b`` becomes ``a &lt; b``."""
    return html.escape(text, quote=False)


def _text_parts(raw: str) -> list[Part]:
    inner = raw.strip(_SPACE)
    text = _SPACES.sub(" ", html.unescape(inner))
    if not any(character.isalnum() for character in text):
        return [Part(raw)]
    start = raw.index(inner)
    return [Part(raw[:start]), Part(inner, text), Part(raw[start + len(inner) :])]


class _Place(NamedTuple):
    start: int
    is_text: bool


class _Constructs(HTMLParser):
    """Where each tag, comment and run of text begins, and which text is translated."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self.places: list[_Place] = []
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", source))]
        self._kept: str | None = None  # the element whose content is kept
        self._depth = 0

    def _begin(self, is_text: bool = False) -> None:
        line, column = self.getpos()
        self.places.append(_Place(self._line_starts[line - 1] + column, is_text and self._kept is None))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin()
        if tag in VOID_ELEMENTS:
            return
        if self._kept is None:
            if tag in KEPT_ELEMENTS or _is_marked(attrs):
                self._kept, self._depth = tag, 1
        elif tag == self._kept:
            self._depth += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin()

    def handle_endtag(self, tag: str) -> None:
        self._begin()
        if tag == self._kept:
            self._depth -= 1
            if not self._depth:
                self._kept = None

    def handle_data(self, data: str) -> None:
        self._begin(is_text=True)

    def handle_charref(self, name: str) -> None:
        self._begin(is_text=True)

    def handle_entityref(self, name: str) -> None:
        self._begin(is_text=True)

    def handle_comment(self, data: str) -> None:
        self._begin()

    def handle_decl(self, decl: str) -> None:
        self._begin()

    def handle_pi(self, data: str) -> None:
        self._begin()

    def unknown_decl(self, data: str) -> None:
        self._begin()


def _is_marked(attrs: list[tuple[str, str | None]]) -> bool:
    found = dict(reversed(attrs))  # of two attributes of a name, the first counts
    return (found.get("translate") or "").lower() == "no" or "notranslate" in (found.get("class") or "").split()
