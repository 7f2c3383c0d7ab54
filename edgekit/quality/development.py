"""Text that edgekit calibrates, gates and searches on: packaged development sets, or a user's own file.

Never a test set: what was chosen on a text says nothing about other text. In: a language pair, and optionally the name
of one packaged set or a file. Out: a `TestSet` of pairs, or an `EvaluationText`. Refused: as in
`edgekit.quality.parallel_text` and `edgekit.quality.plain_text`; and language pairs without a packaged set. Where the
references don't matter, any pair's set serves that has the language (`development_pair`).
"""

from __future__ import annotations

from edgekit.errors import InputError
from edgekit.quality.parallel_text import DEVSETS, TestSet, load_testset, testset_names, testset_pairs
from edgekit.quality.plain_text import DEVELOPMENT, EvaluationText, load_text

__all__ = ["development_pair", "has_development_text", "load_development_pairs", "load_development_text"]

DEFAULT_TEXT = "wikitext2-development"


def load_development_pairs(
    name_or_path: str | None, source_language: str | None, target_language: str | None
) -> TestSet:
    """Pairs to develop on.

    Args:
        name_or_path: a packaged development set's name or a ``source<TAB>reference`` file; None for all sets that are
            packaged for the language pair, one after the other.
        source_language: of the model's input, ISO 639-1.
        target_language: of its output.

    Raises:
        InputError: there is no such set or file, it can't be used, or none is packaged for the languages.
    """
    if name_or_path is not None:
        return load_testset(name_or_path, source_language, target_language, DEVSETS)
    names = testset_names(source_language, target_language, DEVSETS) if source_language and target_language else []
    if not names:
        raise InputError(
            f"no development set is packaged for {source_language or '?'}-{target_language or '?'}; give your own "
            "source<TAB>reference lines with --dev FILE.tsv"
        )
    sets = [load_testset(name, source_language, target_language, DEVSETS) for name in names]
    return TestSet(
        "+".join(names),
        sum((found.sources for found in sets), ()),
        sum((found.references for found in sets), ()),
        "+".join(found.sha256 for found in sets),
        "; ".join(dict.fromkeys(found.license for found in sets)),
    )


def development_pair(source_language: str | None, target_language: str | None) -> tuple[str, str] | None:
    """The language pair whose packaged sets have sentences of the source language: the pair itself, if it has some.

    Returns:
        The first of all pairs from that language otherwise; None where there is none.
    """
    pairs = testset_pairs(source_language, DEVSETS) if source_language else []
    return next((pair for pair in pairs if pair[1] == target_language), pairs[0] if pairs else None)


def has_development_text() -> bool:
    """Whether the text that `load_development_text` gives for None is packaged: the small wheel has none."""
    return DEVELOPMENT[DEFAULT_TEXT].entry.is_file()


def load_development_text(name_or_path: str | None) -> EvaluationText:
    """Text to develop a language model on: a UTF-8 file, or for None the packaged one, the start of WikiText-2's valid.

    Raises:
        InputError: there is no such file, or it can't be used.
    """
    return load_text(DEFAULT_TEXT if name_or_path is None else name_or_path, DEVELOPMENT)
