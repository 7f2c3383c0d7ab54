"""Reads running text that a language model is scored on: what is packaged with edgekit, or a user's own file.

In: a packaged text's name or the path of a UTF-8 file (``.gz`` or plain). Out: an `EvaluationText`. Refused, in one
line that names the file: another encoding, a file without a word, one that is unreadable or larger than 64 MiB.
Where the packaged texts come from is in ``testsets/ATTRIBUTION.md`` and ``devsets/ATTRIBUTION.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from edgekit.errors import InputError
from edgekit.quality.text_file import read_text

__all__ = ["DEFAULT_TEXT", "EvaluationText", "load_text", "text_names"]

USER_LICENSE = "the user's own"
DEFAULT_TEXT = "wikitext2-start"


@dataclass(frozen=True)
class PackagedText:
    """A file of ``folder``, how many of its lines (None: all), and its licence."""

    file: str
    lines: int | None
    license: str
    folder: str = "testsets"

    @property
    def entry(self) -> Traversable:
        """Where it lies; the small wheel lacks it."""
        return resources.files("edgekit.quality").joinpath(self.folder, self.file)


# 177 lines are the first three articles: enough to tell precisions apart in minutes on one core.
PACKAGED = {
    "wikitext2": PackagedText("wikitext2-test-a.txt.gz", None, "CC BY-SA 3.0 and 4.0"),
    "wikitext2-start": PackagedText("wikitext2-test-a.txt.gz", 177, "CC BY-SA 3.0 and 4.0"),
}

# What edgekit calibrates and chooses on; it shares no article with the texts above.
DEVELOPMENT = {
    "wikitext2-development": PackagedText(
        "wikitext2-valid-start.txt.gz", None, "CC BY-SA 3.0 and 4.0", folder="devsets"
    )
}


@dataclass(frozen=True)
class EvaluationText:
    """Text that a model assigns a probability to.

    Attributes:
        name: A packaged text's name, or a file's name without its endings.
        text: The text itself, never empty.
        sha256: Hex digest of the whole uncompressed file, before any limit.
        license: Licence of the text.
    """

    name: str
    text: str
    sha256: str
    license: str

    @property
    def words(self) -> int:
        """How many words white space separates."""
        return len(self.text.split())

    @property
    def size_bytes(self) -> int:
        """Its length in UTF-8."""
        return len(self.text.encode())

    def first(self, lines: int | None) -> EvaluationText:
        """The first ``lines`` lines, at least 1; the whole text where it is None or exceeds their number.

        Raises:
            InputError: ``lines`` is below 1, or these lines hold no word.
        """
        if lines is None:
            return self
        if lines < 1:
            raise InputError(f"a text's limit must be at least 1 line, found {lines}; leave it out to use every line")
        # Only "\n" ends a line: str.splitlines would also cut at U+2028 and form feeds.
        text = "\n".join(self.text.split("\n")[:lines])
        if not text.strip():
            raise InputError(f"{self.name}: its first {lines} lines hold no word; use more of them")
        return replace(self, text=text)


def text_names() -> list[str]:
    """Names of the packaged texts, sorted."""
    return sorted(PACKAGED)


def load_text(name_or_path: str, packaged_texts: Mapping[str, PackagedText] = PACKAGED) -> EvaluationText:
    """The packaged text of that name, or a user's file.

    Args:
        name_or_path: A name that `text_names` gives, or a path. A packaged name wins over a file of the same name.
        packaged_texts: `PACKAGED`, or `DEVELOPMENT`.

    Raises:
        InputError: There is neither such a text nor such a file; or the file is not UTF-8, holds no word, is
            unreadable or larger than 64 MiB.
    """
    if packaged := packaged_texts.get(name_or_path):
        text, sha256 = read_text(packaged.entry, packaged.file, "a text")
        return EvaluationText(name_or_path, text, sha256, packaged.license).first(packaged.lines)
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f'no text "{name_or_path}": expected a packaged one ({", ".join(sorted(packaged_texts))}) or the path of a '
            "UTF-8 file; there is neither"
        )
    text, sha256 = read_text(path, str(path), "a text")
    if not text.strip():
        raise InputError(
            f"{path}: expected text, found a file without a word; give running text in the model's language"
        )
    return EvaluationText(path.name.removesuffix(".gz").removesuffix(".txt"), text, sha256, USER_LICENSE)
