"""``edgekit bench --compare``: what changed between two reports, told from noise. Measures nothing.

In: two JSON files of ``edgekit bench``. Out, on stdout: the figures that changed and how many did not, or all of
them as JSON; sentences on what makes the reports hard to compare go to stderr.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import note, stdout_console
from edgekit.cli.report_file import write_file

if TYPE_CHECKING:
    from edgekit.bench.report_change import Comparability

__all__ = ["print_changes"]

TO_STDOUT = "-"
EXIT_WORSE = 1


def print_changes(old: Path, new: Path, json_file: str | None) -> int:
    """Print what changed; returns the exit status, 1 where something became worse.

    Args:
        old: The report to compare with.
        new: The other.
        json_file: Where all figures go as JSON; ``-`` for stdout instead of the table, None for nowhere.

    Raises:
        InputError: A file is no report, or the two cannot be compared.
    """
    from edgekit.bench.report_change import compare_reports

    found = compare_reports(old, new)
    values = {"schema_version": 1, **asdict(found)}
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if json_file and json_file != TO_STDOUT:
        write_file(Path(json_file), text)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if json_file == TO_STDOUT:
        click.echo(text, nl=False)
    else:
        _print_table(found)
    return EXIT_WORSE if any(change.verdict == "worse" for change in found.changes) else 0


def _print_table(found: Comparability) -> None:
    from rich import box
    from rich.table import Table

    console, changes = stdout_console(), found.changes
    changed = [change for change in changes if change.verdict in ("better", "worse")]
    if changed:
        table = Table(box=box.SIMPLE if console.is_terminal else None, padding=(0, 2, 0, 0))
        for name in ("", "figure", "old", "new", "change", "verdict"):
            table.add_column(name, justify="right" if name in ("old", "new", "change") else "left")
        for change in changed:
            percent = f"{100 * (change.new / change.old - 1):+.1f} %" if change.old else "from 0"
            table.add_row(
                change.subject, change.figure, f"{change.old:.4g}", f"{change.new:.4g}", percent, change.verdict
            )
        console.print(table)
    counts = {verdict: sum(change.verdict == verdict for change in changes) for verdict in ("noise", "same", "busy")}
    console.print(
        f"{len(changed)} of {len(changes)} figures changed; {counts['noise']} differ within noise, "
        f"{counts['same']} are the same"
        + (f", {counts['busy']} of the wall clock are not judged" if counts["busy"] else "")
    )
    console.print(found.machine)
