"""Reads parallel text: the test and development sets packaged with edgekit, or a user's own file.

In: a set's name and a language pair, or the path of a ``source<TAB>reference`` file (UTF-8, ``.gz`` or plain).
Out: a `TestSet`. A packaged set is stored once a language pair and serves both directions. Refused, in one line that
names the file: lines that are not two non-empty columns, text that is not UTF-8, a file with nothing in it.
Where the packaged sets come from is in ``testsets/ATTRIBUTION.md`` and ``devsets/ATTRIBUTION.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from edgekit.errors import InputError
from edgekit.quality.text_file import read_text

__all__ = ["TestSet", "is_packaged", "load_testset", "testset_names", "testset_pairs"]

BAD_LINES_LISTED = 5
USER_LICENSE = "the user's own"
SUFFIX = ".tsv.gz"
# Folders of packaged sets: what is only reported, and what edgekit calibrates and chooses on.
TESTSETS, DEVSETS = "testsets", "devsets"
KINDS = {TESTSETS: "test set", DEVSETS: "development set"}

# Keyed by the packaged file's name without its ending; the attribution beside the files says more.
LICENSES = {
    "flores-dev.en-de": "CC BY-SA 4.0",
    "flores-dev.en-pt": "CC BY-SA 4.0",
    "ntrex.en-pt": "CC BY-SA 4.0",
    "tatoeba.en-de": "CC BY 2.0 FR",
    "tatoeba.en-pt": "CC BY 2.0 FR",
    "valid.en-de": "a mixture: see devsets/ATTRIBUTION.md",
    "valid.en-pt": "a mixture: see devsets/ATTRIBUTION.md",
}


@dataclass(frozen=True)
class TestSet:
    """Sources and references, aligned.

    Attributes:
        name: A packaged set's name, or a file's name without its endings.
        sources: Texts to translate, one sentence each, none empty.
        references: Their translations, as many.
        sha256: Hex digest of the uncompressed file, before any limit or change of direction.
        license: Licence of the text.
    """

    __test__ = False  # pytest would take the name for a test class

    name: str
    sources: tuple[str, ...]
    references: tuple[str, ...]
    sha256: str
    license: str

    def __len__(self) -> int:
        return len(self.sources)

    def first(self, count: int | None) -> TestSet:
        """The first ``count`` pairs, at least 1; all of them where ``count`` is None or exceeds their number."""
        if count is not None and count < 1:
            raise InputError(f"a test set's limit must be at least 1, found {count}; leave it out to use every pair")
        return replace(self, sources=self.sources[:count], references=self.references[:count])


def testset_names(source_language: str, target_language: str, folder: str = TESTSETS) -> list[str]:  # noqa: PT028
    """Names of the sets packaged for a language pair, in either direction, sorted; may be empty."""
    return sorted(name for name, _, _ in _packaged(source_language, target_language, folder))


def testset_pairs(language: str, folder: str = TESTSETS) -> list[tuple[str, str]]:  # noqa: PT028
    """Language pairs from a language that sets are packaged for, in either direction, sorted; may be empty."""
    files = resources.files("edgekit.quality").joinpath(folder).iterdir()
    stored = {tuple(file.name.removesuffix(SUFFIX).rpartition(".")[2].split("-")) for file in files if _is_set(file)}
    return sorted({(a, b) for pair in stored for a, b in (pair, pair[::-1]) if a == language})


def is_packaged(name: str, folder: str = TESTSETS) -> bool:
    """Whether a set of that name is packaged for some language pair."""
    files = resources.files("edgekit.quality").joinpath(folder).iterdir()
    return any(_is_set(file) and file.name.removesuffix(SUFFIX).rpartition(".")[0] == name for file in files)


def load_testset(
    name_or_path: str, source_language: str | None, target_language: str | None, folder: str = TESTSETS
) -> TestSet:
    """The packaged set of that name for a language pair, or the pairs of a user's file.

    Args:
        name_or_path: A name that `testset_names` gives, or a path. A packaged name wins over a file of the same name.
        source_language: Language of the model's input as ISO 639-1, such as ``en``; only packaged sets need it.
        target_language: Language of its output.
        folder: `TESTSETS`, or `DEVSETS`.

    Raises:
        InputError: There is neither such a set nor such a file; or a line is not two non-empty columns, the text is
            not UTF-8, or the file is empty, unreadable or larger than 64 MiB.
    """
    names: list[str] = []
    if source_language and target_language:
        names = testset_names(source_language, target_language, folder)
        if name_or_path in names:
            return _load_packaged(name_or_path, source_language, target_language, folder)
    path = Path(name_or_path)
    if path.is_file():
        return _parse(path, str(path), path.name.removesuffix(".gz").removesuffix(".tsv"), USER_LICENSE)
    pair = f"{source_language or '?'}-{target_language or '?'}"
    known = ", ".join(names) if names else "none"
    raise InputError(
        f'no {KINDS[folder]} "{name_or_path}" for {pair}: expected a packaged set ({known}) or the path of a '
        "source<TAB>reference file; there is neither"
    )


def _packaged(source: str, target: str, folder: str) -> Iterator[tuple[str, bool, Traversable]]:
    """(name, whether to swap the columns, file) of each packaged set that serves a direction."""
    for entry in resources.files("edgekit.quality").joinpath(folder).iterdir():
        name, _, pair = entry.name.removesuffix(SUFFIX).rpartition(".")
        if _is_set(entry) and pair in (f"{source}-{target}", f"{target}-{source}"):
            yield name, pair != f"{source}-{target}", entry


def _is_set(file: Traversable) -> bool:
    return file.name.endswith(SUFFIX)


def _load_packaged(name: str, source: str, target: str, folder: str) -> TestSet:
    swap, entry = next((swap, entry) for found, swap, entry in _packaged(source, target, folder) if found == name)
    loaded = _parse(entry, entry.name, name, LICENSES[entry.name.removesuffix(SUFFIX)])
    return replace(loaded, sources=loaded.references, references=loaded.sources) if swap else loaded


def _parse(file: Traversable, shown: str, name: str, license_name: str) -> TestSet:
    text, sha256 = read_text(file, shown, "a test set")
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and form feeds inside a sentence.
    rows = [line.rstrip("\r").split("\t") for line in text.removesuffix("\n").split("\n")] if text else []
    bad = [number for number, row in enumerate(rows, 1) if len(row) != 2 or not all(cell.strip() for cell in row)]
    if not any(cell.strip() for row in rows for cell in row):
        raise InputError(f"{shown}: expected source<TAB>reference lines, found an empty file; give at least one pair")
    if bad:
        listed = ", ".join(map(str, bad[:BAD_LINES_LISTED]))
        more = f" and {len(bad) - BAD_LINES_LISTED} more" if len(bad) > BAD_LINES_LISTED else ""
        raise InputError(
            f"{shown}: expected source<TAB>reference, two non-empty columns a line; "
            f"not so in line{'s' if len(bad) > 1 else ''} {listed}{more}; correct or remove what is there"
        )
    sources, references = zip(*rows, strict=True)
    return TestSet(name, sources, references, sha256, license_name)
