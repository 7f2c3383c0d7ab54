"""HTML as parts: text to translate, and markup that is kept character for character.

In: HTML, a whole page or a fragment, also broken. Out: parts that together are the input; text is unescaped for the
model, and `escape` makes HTML of its translation. Each run of text between two tags is a text of its own, so a sentence
with ``<b>`` inside is translated in pieces. Kept as they are: attributes, comments, scripts, styles, code, and elements
marked ``translate="no"`` or ``class="notranslate"``.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator

from edgekit.serve.html_tokens import RAW_TEXT, Token, html_tokens
from edgekit.serve.parts import Part

KEPT_ELEMENTS = frozenset({"code", "kbd", "math", "pre", "samp", "svg", "var"}) | RAW_TEXT - {"title"}
# Foreign elements, whose tags may close themselves.
FOREIGN_ELEMENTS = frozenset({"math", "svg"})
# Without an end tag (HTML standard, 13.1.2, "Void elements").
VOID_ELEMENTS = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
# White space of HTML (HTML standard, 13.2.6.4): a no-break space is none.
_SPACE = " \t\r\n\f"
_SPACES = re.compile(f"[{_SPACE}]+")


def html_parts(source: str) -> list[Part]:
    """Cuts HTML into markup and texts."""
    parts: list[Part] = []
    for is_text, tokens in itertools.groupby(_marked(html_tokens(source)), key=lambda pair: pair[1]):
        raw = "".join(token.raw for token, _ in tokens)
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


def _marked(tokens: Iterator[Token]) -> Iterator[tuple[Token, bool]]:
    """Each token, and whether it is text to translate."""
    kept, depth = "", 0  # the element whose content is kept, and how many of its name are open
    for token in tokens:
        yield token, token.kind == "text" and not kept
        if token.kind == "start" and not _is_empty(token):
            if not kept and _is_kept(token):
                kept, depth = token.name, 1
            elif token.name == kept:
                depth += 1
        elif token.kind == "end" and token.name == kept:
            depth -= 1
            kept = kept if depth else ""


def _is_empty(token: Token) -> bool:
    return token.name in VOID_ELEMENTS or (token.closes_itself and token.name in FOREIGN_ELEMENTS)


def _is_kept(token: Token) -> bool:
    attributes = token.attributes
    return (
        token.name in KEPT_ELEMENTS
        or attributes.get("translate", "").lower() == "no"
        or "notranslate" in attributes.get("class", "").split()
    )
