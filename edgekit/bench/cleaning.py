"""Cuts and cleans what a decoder-only model answers, by rules that are stated, so that it is judged by its answer.

`CLEANING_RULES` are the rules in their order, as a report prints them. In: an answer. Out: the text that is scored.
Nothing is repaired: a wrong language or a repetition stays.
"""

from __future__ import annotations

import re

__all__ = ["CLEANING_RULES", "clean_answer"]

CLEANING_RULES = (
    "The text ends before the first stop string (generation ends there too); white space around it goes.",
    "Where the task's output is a line: the first line that is not empty; if it ends with a colon and another follows "
    '("Here is the translation:"), that one.',
    "A label in front goes: the output language's name, Translation, Output or Answer, and a colon.",
    "Quotation marks around the whole go, unless the input has them too.",
)

LABELS = ("Translation", "Output", "Answer")
QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’"}


def clean_answer(answer: str, asked: str, target_language: str | None, *, single_line: bool) -> str:
    """The answer after `CLEANING_RULES`.

    Args:
        answer: What the model gave, ended by a stop string or its end.
        asked: The input.
        target_language: The output language's English name, such as ``German``; None where there is none.
        single_line: Whether the task's output is a line.
    """
    text = answer.strip()
    if single_line:
        text = _first_line(text)
    labels = "|".join(map(re.escape, filter(None, (target_language, *LABELS))))
    text = re.sub(rf"^(?:{labels})\s*:\s*", "", text)
    return text if _is_quoted(asked.strip()) or not _is_quoted(text) else text[1:-1].strip()


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    return lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _is_quoted(text: str) -> bool:
    """Whether one pair of marks encloses the whole, and no mark stands inside: ``"a" and "b"`` does not count."""
    if len(text) < 2 or QUOTES.get(text[0]) != text[-1]:
        return False
    return text[0] not in text[1:-1] and text[-1] not in text[1:-1]
