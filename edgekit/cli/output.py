"""Where the commands write: results to stdout, progress and notes to stderr.

A command prints its result with `stdout_console` (or ``click.echo`` for plain text), its notes with `note`, and wraps
long work in `progress`::

    with progress("translating", total=len(texts)) as bar:
        for text in texts:
            ...
            bar.advance(1)

Colour and progress appear on a terminal only, and no colour where ``NO_COLOR`` is set. Nothing here formats results.
Text of models, which may be any, goes through `accept_every_text`; a command that reads text begins with `open_stdin`.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal, Protocol, TextIO

import rich.progress
from rich.console import Console

from edgekit.encodings import CONVERT, describe_utf_16
from edgekit.errors import InputError

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


def accept_every_text(stdout: TextIO | None) -> None:
    """Make a text stream take any character: UTF-8 with "\\n" in a file or pipe, the terminal's own encoding on one."""
    if not isinstance(stdout, io.TextIOWrapper):
        return
    if stdout.isatty():
        stdout.reconfigure(errors="replace")
    else:
        stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")


def open_stdin(instead: str) -> BinaryIO:
    """A stream of its own: at exit Python locks sys.stdin's, which a reading thread may hold while it waits for a line.

    Args:
        instead: What a user can give in place of it, for the message.

    Raises:
        InputError: The process was started without a stdin.
    """
    if sys.stdin is None:
        raise InputError(f"expected lines on stdin, found it closed; give {instead}, or a file with < FILE")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def refuse_utf_16(beginning: bytes) -> None:
    """Refuse what stdin begins with if it is UTF-16.

    Raises:
        InputError: It is, by its byte order mark or by where its zero bytes are.
    """
    if found := describe_utf_16(beginning):
        raise InputError(f"expected UTF-8 on stdin, found {found}")


def decode_stdin(data: bytes, is_beginning: bool) -> tuple[str, bool]:
    """Text of stdin, without a byte order mark; what is no UTF-8 becomes U+FFFD.

    Args:
        data: A line, or all of it.
        is_beginning: Whether stdin begins with it.

    Returns:
        The text, and whether all of it was UTF-8.
    """
    data = data.removeprefix(codecs.BOM_UTF8) if is_beginning else data
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="replace"), False


def note_encoding(where: str) -> None:
    """Say that text of stdin was not UTF-8; ``where`` names it."""
    note(f"{where} is not UTF-8, and its other characters are lost; {CONVERT.format('LATIN1')} if it is Latin-1")


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
