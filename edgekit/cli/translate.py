"""``edgekit translate``: arguments, or lines from stdin as a stream."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from edgekit.cli.on_demand import bundle_for
from edgekit.cli.output import note
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.runtime import Translator

# Lines that wait while a batch is translated are taken together, up to this many.
MOST_LINES = 256


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Threads for one product; default 1.")
@click.option("--max-length", type=click.IntRange(min=1), help="Most target tokens; default relative to the source.")
def command(model: str, texts: tuple[str, ...], precision: str, threads: int | None, max_length: int | None) -> None:
    """Translate each TEXT with MODEL: a bundle, or what `edgekit export` takes (exported into the cache when needed).

    Without TEXT, lines are read from stdin and translated as they come, one line out for one line in.

    \b
    Examples:
      edgekit translate marian-en-de "Good morning!"
      edgekit translate ./firefox-en-pt-int8 < english.txt > portuguese.txt
    """
    import edgekit

    translator = edgekit.load(bundle_for(model, precision), threads)
    if texts:
        # An argument of bytes that are no text would come out as it is, which no terminal takes.
        printable = [os.fsencode(text).decode("utf-8", errors="replace") for text in texts]
        for translation in translator.translate(printable, max_length=max_length):
            click.echo(translation)
        return
    failed = 0
    # A stream of its own: at exit Python locks sys.stdin's, which the reading thread holds while it waits for a line.
    for number, lines in _waiting_lines(open(sys.stdin.fileno(), "rb", closefd=False)):  # noqa: SIM115
        failed += _translate_lines(translator, lines, number, max_length)
    if failed:
        raise InputError(f"{failed} line{'s' if failed > 1 else ''} could not be translated and came out empty")


def _translate_lines(translator: Translator, lines: list[str], number: int, max_length: int | None) -> int:
    """Prints the translations of ``lines``, the first being line ``number``; returns how many failed."""
    try:
        translations = translator.translate(lines, max_length=max_length)
        failed = 0
    except InputError as error:
        if len(lines) == 1:
            note(f"line {number}: {error}")
            translations, failed = [""], 1
        else:
            return sum(_translate_lines(translator, [line], number + i, max_length) for i, line in enumerate(lines))
    for translation in translations:
        # One line out for one line in, whatever a model writes.
        click.echo(" ".join(translation.splitlines()))
    return failed


def _waiting_lines(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The stream's lines in groups, as they arrive: the number of a group's first line (from 1), and the group."""
    waiting: queue.Queue[str | None] = queue.Queue(maxsize=4 * MOST_LINES)

    def read() -> None:
        for line in stream:
            waiting.put(line.decode("utf-8", errors="replace").rstrip("\r\n"))
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    number, ended = 1, False
    while not ended and (line := waiting.get()) is not None:
        lines = [line]
        while len(lines) < MOST_LINES and not waiting.empty():
            following = waiting.get()
            if following is None:
                ended = True
                break
            lines.append(following)
        yield number, lines
        number += len(lines)
