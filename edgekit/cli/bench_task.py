"""``edgekit bench --task``: models of both kinds on one task, and the report's forms.

In: models, and the command's options. Out, on stdout: verdict and tables, or JSON, CSV or Markdown; files that
``--json`` and ``--report`` name. What is wrong with the options, the task or its files is said before anything is
exported.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.on_demand import FoundModel, find_model
from edgekit.cli.output import note, progress, stdout_console
from edgekit.cli.report_file import write_file
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.bench.comparison import TaskComparison
    from edgekit.bench.task_rounds import TaskSettings
    from edgekit.bench.tasks import Task

__all__ = ["Wanted", "measure_task", "parse_size"]

TO_STDOUT = "-"
DEFAULT_PRECISIONS = ("int8",)
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMG]i?)?B?")


@dataclass(frozen=True)
class Wanted:
    """The command's options by name (those that were not given are None or empty), and the forms of the report."""

    options: dict[str, Any]
    json_file: str | None
    as_csv: bool
    as_markdown: bool


def parse_size(text: str) -> int:
    """``512M`` as bytes: K, M and G are powers of 1000, Ki, Mi and Gi of 1024.

    Raises:
        InputError: It is no such size, or none at all.
    """
    match = _SIZE.fullmatch(text)
    size = round(float(match[1]) * UNITS[match[2] or ""]) if match else 0
    if size < 1:
        raise InputError(f"expected a size such as 512M or 1.5G as --memory, found {text!r}")
    return size


def measure_task(models: Sequence[str], precisions: Sequence[str] | None, source: str | None, wanted: Wanted) -> None:
    """Compare models and write the report.

    Args:
        models: Names and bundles.
        precisions: Of each model; None for int8.
        source: Where weights are taken from.
        wanted: Task, settings and forms.

    Raises:
        EdgekitError: Something cannot be used or measured.
    """
    from edgekit.bench.task_benchmark import plan_comparison, plan_development, run_comparison
    from edgekit.bench.tasks import load_task

    options = wanted.options
    if not models:
        raise click.UsageError("--task compares models: name one or more")
    if options["report"] is not None and options["report"] == wanted.json_file:
        raise click.UsageError("--report and --json name the same file: choose two")
    if len(options["testsets"]) > 1:
        raise InputError("a task has one test set; give --testset once, and measure the others one after the other")
    settings = _settings(options)
    testset = options["testsets"][0] if options["testsets"] else None
    task = load_task(options["task"], testset, options["dev"], options["prompt"], options["limit"])
    found = [find_model(model, precisions or DEFAULT_PRECISIONS, source) for model in models]
    _check_models(found, task, options)
    plan_development(task, settings, any(model.is_prompted for model in found))
    plan = plan_comparison([bundle for model in found for bundle in model.bundles()], task, settings)
    with progress("measuring", plan.steps) as bar:
        comparison = run_comparison(plan, bar.advance)
    _write(comparison, wanted)


def _check_models(found: Sequence[FoundModel], task: Task, options: dict[str, Any]) -> None:
    """Refuse what can't do the task, and options that none of the models takes, before minutes of exporting."""
    from edgekit.bench.entrants import check_languages

    given = [f"--{name}" for name in ("dev", "prompt") if options[name] is not None]
    if given and not any(model.is_prompted for model in found):
        raise InputError(f"{' and '.join(given)}: for prompts of language models, of which there is none among these")
    for model in found:
        if model.languages is not None and not model.is_prompted:
            check_languages(model.name, model.languages, task)


def _settings(options: dict[str, Any]) -> TaskSettings:
    from edgekit.bench.task_rounds import TaskSettings

    names = ("threads", "rounds", "limit", "seed", "price_per_hour", "cores")
    chosen = {name: options[name] for name in names if options[name] is not None}
    if options["timed"] is not None:
        chosen["latency_items"] = chosen["bulk_items"] = options["timed"]
    if options["memory"] is not None:
        chosen["memory_bytes"] = parse_size(options["memory"])
    return TaskSettings(**chosen, command=shlex.join(["edgekit", *sys.argv[1:]]))


def _write(comparison: TaskComparison, wanted: Wanted) -> None:
    from edgekit.bench.comparison import to_json
    from edgekit.report import print_comparison, to_csv, to_html, to_markdown

    # All forms first: one that cannot be made must not leave the others behind.
    files = {wanted.options["report"]: to_html, wanted.json_file: to_json}
    texts = {Path(file): make(comparison) for file, make in files.items() if file and file != TO_STDOUT}
    form = to_json if wanted.json_file == TO_STDOUT else to_csv if wanted.as_csv else None
    form = to_markdown if wanted.as_markdown else form
    printed = form(comparison) if form else None
    for path, text in texts.items():
        write_file(path, text)
    if printed is None:
        print_comparison(comparison, stdout_console())
        return
    click.echo(printed, nl=False)
    for warning in comparison.warnings:
        note(f"warning: {warning}")
