"""The lazy click group, and what a failure looks like.

`edgekit --help` and shell completion read `COMMANDS` and import no command; a command's module is imported when it runs
or shows its own help. Every failure that a user can cause or cure is one line on stderr; anything else keeps its
traceback, since it is a fault of edgekit. Refuses to guess: nothing here retries or continues after an error.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click
from click.shell_completion import CompletionItem

from edgekit import __version__
from edgekit.errors import EdgekitError

# In the order of `edgekit --help`. Each name is a module of edgekit.cli that holds a click command called `command`.
COMMANDS = {
    "export": "Build a bundle from a checkpoint, int8 by default.",
    "import": "Build a bundle from ONNX graphs that optimum exported.",
    "quantize": "Turn an fp32 bundle into an int8 or int4 one.",
    "translate": "Translate arguments, or lines from stdin.",
    "generate": "Continue a text, or hold a conversation.",
    "serve": "Answer over HTTP, by LibreTranslate's API and OpenAI's.",
    "bench": "Measure quality, speed, memory and size on this machine.",
    "models": "List the models that edgekit knows.",
    "cache": "List or clear what edgekit keeps on disk.",
    "inspect": "Show what is in a bundle.",
    "verify": "Check every file of a bundle against its hash.",
    "pack": "Write a bundle as one file.",
    "unpack": "Write a packed bundle as a directory.",
    "completion": "Print a completion script for a shell.",
}

# Optional modules by import name, and the extra of setup.cfg that brings each.
EXTRA_OF_MODULE = {
    "click": "cli",
    "rich": "cli",
    "filelock": "export",
    "google": "export",
    "huggingface_hub": "export",
    "onnx_ir": "export",
    "optimum": "optimum",
    "safetensors": "export",
    "sentencepiece": "export",
    "yaml": "export",
    "cpuinfo": "bench",
    "psutil": "bench",
    "sacrebleu": "bench",
    "h11": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
}

OUT_OF_MEMORY = (
    "out of memory; free some or raise the process's limit, choose a smaller model or precision, or give less text"
)
# What other exceptions than MemoryError say where there is none: dlopen(3) of a library, C++ in one, a thread's start.
NO_MEMORY_SIGNS = ("failed to map segment", "annot allocate memory", "bad_alloc", "can't start new thread")

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are the modules named in `COMMANDS`, each imported only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Command names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported now; None for a name outside the table."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"edgekit.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is compared with the whole table.

        Raises:
            click.exceptions.NoSuchCommand: The name is not in the table; its closest names are suggested.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's names and short helps without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completions for a command's name or one of the group's own options, without importing any command."""
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def group() -> None:
    """Small translation and language models on CPUs: export, quantise, run, and measure what that cost.

    \b
    Examples:
      edgekit bench --cpu                      measure the default model, fp32 against int8
      edgekit export marian-en-de              write ./marian-en-de-int8
      edgekit translate marian-en-de "Hello"   translate a text
      edgekit generate smollm2-135m --chat     hold a conversation
    """


def run(args: list[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        args: Arguments after the program's name; None takes those of the process.

    Raises:
        SystemExit: Always. 0 fine, 1 a finding or a user's mistake, 2 wrong usage, 130 interrupted.
    """
    try:
        status = group.main(args, prog_name="edgekit", standalone_mode=False)
        # A full disk or a closed pipe behind stdout shows only when the last buffer is written.
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        status = _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt) as error:
        status = _interrupted(error)
    except EdgekitError as error:
        status = _fail(str(error))
    except ImportError as error:
        status = _fail(OUT_OF_MEMORY if _is_out_of_memory(error) else _describe_missing_module(error))
    except OSError as error:
        _discard_stdout()
        status = EXIT_FAILURE if _is_broken_pipe(error) else _fail(_describe_os_error(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        status = _fail(OUT_OF_MEMORY)
    except UnicodeEncodeError as error:
        status = _fail(
            f"the output's encoding {error.encoding} has no {error.object[error.start : error.end]!a}; "
            "set PYTHONIOENCODING=utf-8"
        )
    raise SystemExit(status if isinstance(status, int) else 0)


def one_line(text: str) -> str:
    """`text` on one line, with every unprintable character escaped.

    A message may quote a name from a hostile file: without this it could move the cursor or recolour the terminal.

    Example: ``"a\\n\\x1b[2J"`` becomes ``"a \\\\x1b[2J"``.
    """
    joined = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def _fail(message: str) -> int:
    click.echo(f"edgekit: {one_line(message)}", err=True)
    return EXIT_FAILURE


def _interrupted(error: BaseException) -> int:
    # click raises Abort for Ctrl-C and for a prompt that meets the end of stdin; only the first is an interruption.
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, EOFError):
        return _fail("stopped: a question needs an answer, and stdin is at its end")
    return EXIT_INTERRUPTED


def _describe_missing_module(error: ImportError) -> str:
    """The line for an optional module that is not installed; any other import error is raised again."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRA_OF_MODULE:
        raise error
    return f'this needs {module}, which is not installed; pip install "edgekit[{EXTRA_OF_MODULE[module]}]" brings it'


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY_SIGNS)


def _describe_os_error(error: OSError) -> str:
    """The line for a full disk, a missing permission and the like: the file where there is one, then the reason."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def _is_broken_pipe(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError) or error.errno == errno.EPIPE


def _discard_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush does not fail a second time."""
    if sys.stdout is None:
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        # A stdout without a descriptor (a test's, an IDE's) has no such last flush.
        pass
    finally:
        os.close(devnull)
