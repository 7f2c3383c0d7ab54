"""Where the commands write: results to stdout, progress and notes to stderr.

A command prints its result with `stdout_console` (or ``click.echo`` for plain text), its notes with `note`, and wraps
long work in `progress`::

    with progress("translating", total=len(texts)) as bar:
        for text in texts:
            ...
            bar.advance(1)

Colour and progress appear on a terminal only, and no colour where ``NO_COLOR`` is set. Nothing here formats results.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import rich.progress
from rich.console import Console

# Wide enough that a table in a file or a pipe is neither wrapped nor cut; a table takes only the columns it needs.
PIPED_WIDTH = 1000


class Progress(Protocol):
    """What `progress` yields."""

    def advance(self, n: float = 1) -> None:
        """Count `n` more units as done."""

    def set_total(self, total: float) -> None:
        """Set the number of units in all, once it is known."""


class _NoProgress:
    """Progress where stderr is not a terminal: nothing is written."""

    def advance(self, n: float = 1) -> None:
        pass

    def set_total(self, total: float) -> None:
        pass


class _Bar:
    """One task of a rich progress display."""

    def __init__(self, display: rich.progress.Progress, description: str, total: float | None) -> None:
        self._display = display
        self._task = display.add_task(description, total=total)

    def advance(self, n: float = 1) -> None:
        self._display.advance(self._task, n)

    def set_total(self, total: float) -> None:
        self._display.update(self._task, total=total)


def stdout_console() -> Console:
    """A console for results. Text is printed as it is: no markup, no emoji names, no highlighting."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """A console for notes and progress; as `stdout_console` otherwise."""
    return _console(stderr=True)


def note(message: str) -> None:
    """Print one plain line on stderr, unwrapped."""
    stderr_console().print(message, soft_wrap=True)


@contextmanager
def progress(
    description: str, total: float | None = None, unit: Literal["items", "bytes"] = "items"
) -> Iterator[Progress]:
    """A progress bar on stderr for the time of the ``with`` block, removed at its end; nothing off a terminal.

    Args:
        description: What is going on, in a few words.
        total: Units of work in all; None while unknown.
        unit: ``"bytes"`` adds sizes and a rate, for downloads; ``"items"`` a count.

    Yields:
        An object whose ``advance(n)`` counts work done and whose ``set_total(total)`` sets a total learnt late.
    """
    if not sys.stderr.isatty():
        yield _NoProgress()
        return
    counts: tuple[rich.progress.ProgressColumn, ...] = (
        (rich.progress.DownloadColumn(), rich.progress.TransferSpeedColumn())
        if unit == "bytes"
        else (rich.progress.MofNCompleteColumn(),)
    )
    columns = (
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        *counts,
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=stderr_console(), transient=True) as display:
        yield _Bar(display, description, total)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream.isatty()
    # rich reads NO_COLOR itself. FORCE_COLOR and its kin are overruled: nothing is coloured when piped.
    return Console(
        file=stream,
        force_terminal=is_terminal,
        width=None if is_terminal else PIPED_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )
