"""The comparison on a terminal: the verdict, tables, what it was measured on, warnings.

In a pipe the same without lines and colour; ASCII where the output's encoding isn't UTF. Control characters of names
don't reach the terminal. In: a `TaskComparison` and a console. Out: what is printed.
"""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from edgekit.bench.comparison import TaskComparison
from edgekit.report.cells import Table
from edgekit.report.circumstances import circumstances
from edgekit.report.drawing import printable
from edgekit.report.tables import report_tables
from edgekit.report.verdict import reach_verdict

__all__ = ["print_comparison"]

ASCII = str.maketrans({"−": "-", "–": "-", "×": "x", "±": "+-", "’": "'", "\u00a0": " ", "…": "..."})


def print_comparison(comparison: TaskComparison, console: Console) -> None:
    """Print the verdict first, then what it rests on; lines around the tables only on a terminal."""
    verdict = reach_verdict(comparison)
    console.print(_fit(verdict.headline, console), style="bold", soft_wrap=True)
    for sentence in verdict.sentences:
        console.print(_fit(sentence, console), soft_wrap=True)
    for warning in comparison.warnings:
        console.print(_fit(f"warning: {warning}", console), style="yellow", soft_wrap=True)
    for table in report_tables(comparison):
        console.print()
        _print_table(table, console)
    console.print()
    for heading, text in circumstances(comparison):
        console.print(_fit(f"{heading}: {text}", console), soft_wrap=True)
    if comparison.settings.command:
        console.print(_fit(f"to repeat it: {comparison.settings.command}", console), soft_wrap=True)


def _print_table(table: Table, console: Console) -> None:
    console.print(_fit(table.title, console), style="bold")
    shown = RichTable(box=box.SIMPLE if console.is_terminal else None, padding=(0, 2, 0, 0))
    shown.add_column("", overflow="fold")
    for name in table.header:
        shown.add_column(_fit(name, console), justify="right", overflow="fold")
    for row in table.rows:
        cells = (Text(_fit(cell.text, console), style="bold" if cell.is_best else "") for cell in row.cells)
        shown.add_row(_fit(row.heading, console), *cells)
    console.print(shown)
    if table.note and console.is_terminal:
        console.print(_fit(table.note, console), style="dim")


def _fit(text: str, console: Console) -> str:
    text = printable(text)
    return text if console.encoding.lower().startswith("utf") else text.translate(ASCII)
