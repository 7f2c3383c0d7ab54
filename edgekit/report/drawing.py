"""SVG elements, escaped, and how much room a text takes.

In: tags, attributes, any text. Out: SVG for inside HTML, or a file of its own. Text of models may hold anything:
`printable` takes out what neither XML nor a reader can use.
"""

from __future__ import annotations

import unicodedata
from xml.etree import ElementTree

__all__ = ["Drawing", "printable", "shortened", "text_width"]

NAMESPACE = "http://www.w3.org/2000/svg"
# Shares of the font size. DejaVu Sans, the widest of the usual interface fonts, has 0.59 on average, and 0.67 if bold.
CHARACTER, WIDE_CHARACTER = 0.6, 1.0
BOLD = 1.13
# Embeddings, overrides and isolates: after a name that holds one, the verdict's own words would run backwards.
REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Drawing:
    """An SVG image that grows element by element; later ones cover earlier ones."""

    def __init__(self, width: int, height: int, description: str) -> None:
        """An empty image of so many pixels, which scales; the description is read to those who can't see it."""
        self._root = ElementTree.Element("svg", viewBox=f"0 0 {width} {height}", role="img")
        self._root.set("aria-label", printable(description))
        self._root.set("class", "chart")
        self.width, self.height = width, height

    def add(self, tag: str, text: str | None = None, title: str | None = None, **attributes: object) -> None:
        """Add an element; ``class_`` stands for ``class`` and ``_`` for ``-`` in names, ``title`` for its tooltip."""
        names = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
        element = ElementTree.SubElement(self._root, tag, names)
        if text is not None:
            element.text = printable(text)
        if title is not None:
            ElementTree.SubElement(element, "title").text = printable(title)

    def nest(self, inner: Drawing, x: float, y: float) -> None:
        """Put another drawing into this one, its upper left corner there and in its own size."""
        for name, value in (("x", x), ("y", y), ("width", inner.width), ("height", inner.height)):
            inner._root.set(name, str(value))
        self._root.append(inner._root)

    def __html__(self) -> str:
        """What Jinja2 takes as escaped already."""
        return self.inline()

    def inline(self) -> str:
        """The image for inside an HTML page, whose style sheet it uses."""
        return ElementTree.tostring(self._root, encoding="unicode")

    def standalone(self, style: str) -> str:
        """The image as a file of its own, with its size and style sheet."""
        self._root.set("xmlns", NAMESPACE)
        self._root.set("width", str(self.width))
        self._root.set("height", str(self.height))
        sheet = ElementTree.Element("style")
        sheet.text = style
        self._root.insert(0, sheet)
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"


def printable(text: str) -> str:
    """The text with U+FFFD for control characters, lone surrogates, what XML doesn't allow, and `REORDERING`."""
    return "".join("\ufffd" if _is_unusable(character) else character for character in text)


def _is_unusable(character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Cs"):
        return character not in "\n\t"
    return character in REORDERING or character in "\ufffe\uffff"


def text_width(text: str, size: float, bold: bool = False) -> float:
    """About how many pixels a text is wide at a font size; rather too many than too few."""
    return size * (BOLD if bold else 1) * sum(_character_width(character) for character in text)


def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return WIDE_CHARACTER if unicodedata.east_asian_width(character) in "WF" else CHARACTER


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and end around an ellipsis where it has more than ``most`` characters."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[: most - 1 - head]}…{text[-head:]}"
