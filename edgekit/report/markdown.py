"""The comparison as GitHub Markdown: the verdict, tables, what it was measured on.

Names that a user or a model's author gave can't become markup. In: a `TaskComparison`. Out: Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgekit.bench.comparison import TaskComparison
from edgekit.report.cells import Table
from edgekit.report.circumstances import circumstances
from edgekit.report.drawing import printable
from edgekit.report.tables import report_tables
from edgekit.report.verdict import reach_verdict

__all__ = ["to_markdown"]


def to_markdown(comparison: TaskComparison) -> str:
    """The Markdown, ending in a newline."""
    verdict = reach_verdict(comparison)
    lines = [f"**{_escaped(verdict.headline)}**", ""]
    lines += [f"- {_escaped(sentence)}" for sentence in verdict.sentences]
    lines += [f"- **warning:** {_escaped(warning)}" for warning in comparison.warnings]
    for table in report_tables(comparison):
        lines += ["", *_table_lines(table)]
    lines += ["", *(f"- {_escaped(heading)}: {_escaped(text)}" for heading, text in circumstances(comparison))]
    if comparison.settings.command:
        lines.append(f"- to repeat it: {_escaped(comparison.settings.command)}")
    return "\n".join(lines) + "\n"


def _table_lines(table: Table) -> Iterator[str]:
    yield f"**{_escaped(table.title)}**"
    yield ""
    yield _row(["", *map(_escaped, table.header)])
    yield _row(["---", *["---:"] * len(table.header)])
    for row in table.rows:
        cells = (f"**{_escaped(cell.text)}**" if cell.is_best else _escaped(cell.text) for cell in row.cells)
        yield _row([_escaped(row.heading), *cells])
    if table.note:
        yield ""
        yield _escaped(table.note)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """The text in one line, its markup characters as themselves; brackets stay, but make no link or image."""
    text = re.sub(r"([\\`*_|~]|<(?=[\w/!?]))", r"\\\1", " ".join(printable(text).split()))
    return text.replace("](", "]\\(").replace("][", "]\\[")
