"""Plans and runs a comparison of models on one task: bundles and a `Task` in, a `TaskComparison` out.

Encoder-decoders get the texts, decoder-only models get them in the prompt that was best on development text; all are
scored on the same test items and timed on the same of them. Nothing is exported or written here. Everything that can be
refused (a bundle, a task, a setting) is refused by `plan_comparison`, before minutes of work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bench.asking import Asking
from edgekit.bench.comparison import ModelResult, PromptChoice, Settings, TaskComparison, TaskText
from edgekit.bench.conditions import condition_warnings
from edgekit.bench.entrants import Entrant, read_entrants
from edgekit.bench.environment import Conditions, Environment, busy_reason, read_environment, usable_cores
from edgekit.bench.memory_limit import limit_kind
from edgekit.bench.prompt_choice import choose_prompt
from edgekit.bench.rounds import BYTES_PER_MB
from edgekit.bench.task_figures import Scored, floors, model_costs, pairs, score_outputs
from edgekit.bench.task_memory import measure_fit, measure_memory
from edgekit.bench.task_rounds import EntrantMeasurement, Sample, TaskSettings, measure_task, relative_width
from edgekit.bench.tasks import Development, Task
from edgekit.bench.worker_process import WorkerProcess, worker_command
from edgekit.errors import InputError, UnsupportedError
from edgekit.quality.bootstrap import FEWEST_SENTENCES
from edgekit.quality.metrics import sentence_statistics

__all__ = ["ComparisonPlan", "plan_comparison", "plan_development", "run_comparison"]

Command = Callable[[Path, int], list[str]]


@dataclass(frozen=True)
class ComparisonPlan:
    """What will be measured."""

    entrants: tuple[Entrant, ...]
    task: Task
    development: Development | None
    settings: TaskSettings

    @property
    def steps(self) -> int:
        """Items that `run_comparison` will report through ``advance``."""
        items, prompted = len(self.task.test), sum(entrant.is_prompted for entrant in self.entrants)
        tried = prompted * len(self.task.prompts) * (len(self.development.items) if self.development else 0)
        timed = min(self.settings.latency_items, items) + min(self.settings.bulk_items, items)
        return tried + len(self.entrants) * (items + self.settings.rounds * timed)


def plan_comparison(bundles: Sequence[Path], task: Task, settings: TaskSettings) -> ComparisonPlan:
    """Open the bundles and take the development text apart.

    Args:
        bundles: Directories of bundles; one given twice is measured once.
        task: From `edgekit.bench.tasks.load_task`.
        settings: What to measure.

    Raises:
        ModelNotFoundError: A bundle is missing.
        BundleError: A bundle is damaged, hostile or of an unknown version.
        UnsupportedError: A bundle cannot do the task, or a fit onto cores is asked for where only Linux tries one.
        InputError: There is no bundle, no development text for a prompt, or fewer cores than asked for.
    """
    entrants = read_entrants(bundles, task)
    development = plan_development(task, settings, any(entrant.is_prompted for entrant in entrants))
    return ComparisonPlan(tuple(entrants), task, development, settings)


def plan_development(task: Task, settings: TaskSettings, prompted: bool) -> Development | None:
    """The development text apart; refuses what needs no bundle to be refused.

    Args:
        task: As `plan_comparison`'s.
        settings: Likewise.
        prompted: Whether a language model takes part.

    Raises:
        UnsupportedError: A fit onto cores is asked for where only Linux tries one.
        InputError: There is no development text for a prompt, or there are fewer cores than asked for.
    """
    usable = usable_cores()
    if settings.cores is not None and settings.cores > usable:
        raise InputError(f"this machine has {usable} usable cores; a fit onto {settings.cores} cannot be tried")
    if settings.cores is not None and not sys.platform.startswith("linux"):
        raise UnsupportedError("only Linux keeps a process on some cores; leave out --cores")
    if not (prompted and task.needs_development):
        return None
    return task.development(min(settings.dev_items, len(task.test)))


def run_comparison(
    plan: ComparisonPlan,
    advance: Callable[[int], None] = lambda _: None,
    command: Command = worker_command,
    environment: Environment | None = None,
) -> TaskComparison:
    """Choose prompts, measure and score what was planned.

    Args:
        plan: From `plan_comparison`.
        advance: Called with a number of items each time that so many are done; `ComparisonPlan.steps` in all.
        command: Command line of a worker for a bundle and a number of threads.
        environment: The machine as it was before; None reads it now.

    Raises:
        WorkerError: A bundle cannot be loaded, or a worker died, answered nonsense or took too long.
        UnsupportedError: None of the prompts can be used with a model.
        InputError: No test item is short enough for all models.
    """
    environment = environment or read_environment()
    asked = [_prepare(entrant, plan, command, advance) for entrant in plan.entrants]
    askings = [one.asking for one in asked]
    commands = [one.command for one in asked]
    measurements, sample, conditions = measure_task(askings, commands, plan.settings, advance)
    scored = [score_outputs(plan.task, measurement.outputs, plan.settings) for measurement in measurements]
    models = tuple(
        _model(one, measurement, score, sample, plan)
        for one, measurement, score in zip(asked, measurements, scored, strict=True)
    )
    return TaskComparison(
        task=_task_text(plan.task, sample, scored[0]),
        settings=_settings(plan.settings, len(measurements[0].rounds)),
        environment=environment,
        conditions=conditions,
        models=models,
        floors=floors(plan.task, plan.settings),
        pairs=pairs(models, scored, plan.settings),
        warnings=(
            *_warnings(environment, conditions, measurements, plan.settings),
            *_prompt_warnings(asked, plan),
        ),
    )


@dataclass(frozen=True)
class _Asked:
    asking: Asking
    choice: PromptChoice | None
    command: list[str]


def _prepare(entrant: Entrant, plan: ComparisonPlan, command: Command, advance: Callable[[int], None]) -> _Asked:
    """How an entrant is asked; of a language model after its prompt has been chosen."""
    settings, bundle = plan.settings, entrant.variant.bundle
    line = command(bundle, settings.threads)
    if not entrant.is_prompted:
        return _Asked(Asking(entrant, plan.task, None, (), settings.batch_tokens), None, line)
    with WorkerProcess(bundle, settings.threads, settings.timeout_s, line) as worker:
        choice, asking = choose_prompt(entrant, plan.task, plan.development, worker, settings.batch_tokens, advance)
        # Two items of different text: what both prompts begin with is what every prompt begins with.
        texts = (plan.task.test.inputs[0], plan.task.test.inputs[-1][::-1])
        shared = worker.request("shared_prefix", asked=[asking.rendered(text) for text in texts])["bytes"]
        worker.request("quit")
    return _Asked(asking, choice, [*line, str(shared)])


def _model(
    asked: _Asked, measurement: EntrantMeasurement, scored: Scored, sample: Sample, plan: ComparisonPlan
) -> ModelResult:
    entrant, settings = asked.asking.entrant, plan.settings
    kind = limit_kind()
    memory = measure_memory(asked.asking, asked.command, sample.single, settings, measurement.peak_rss_bytes, kind)
    return ModelResult(
        name=entrant.name,
        model=entrant.variant.model,
        precision=entrant.variant.precision,
        kind=entrant.kind,
        bundle=entrant.variant.bundle.name,
        source=entrant.variant.source,
        size_mb=entrant.variant.size_bytes / BYTES_PER_MB,
        quality=scored.quality,
        outputs=tuple(output.text for output in measurement.outputs),
        cleaned=sum(output.was_cleaned for output in measurement.outputs),
        prompt=asked.choice,
        costs=model_costs(measurement, sample, settings),
        memory=memory,
        fit=measure_fit(asked.asking, asked.command, sample.single, settings, kind),
    )


def _task_text(task: Task, sample: Sample, scored: Scored) -> TaskText:
    return TaskText(
        task=task.name,
        metric=task.metrics[0],
        metrics={metric: found.signature for metric, found in scored.statistics.items()},
        source_language=task.source_language,
        target_language=task.target_language,
        testset=task.test.name,
        sha256=task.test.sha256,
        license=task.test.license,
        inputs=task.test.inputs,
        references=task.test.references,
        words=sum(len(text.split()) for text in task.test.inputs),
        timed_items=sample.single,
        timed_items_bulk=sample.bulk,
    )


def _settings(settings: TaskSettings, rounds: int) -> Settings:
    return Settings(
        threads=settings.threads,
        rounds=rounds,
        tight=settings.tight,
        limit=settings.limit,
        resamples=settings.resamples,
        seed=settings.seed,
        price_per_hour=settings.price_per_hour,
        command=settings.command,
    )


def _warnings(
    environment: Environment, conditions: Conditions, measurements: Sequence[EntrantMeasurement], settings: TaskSettings
) -> list[str]:
    found = [reason] if (reason := busy_reason(environment, conditions.background_cores)) else []
    found += condition_warnings(conditions)
    rounds, items = len(measurements[0].rounds), len(measurements[0].outputs)
    if items < FEWEST_SENTENCES:
        found.append(
            f"quality was scored on {items} items: fewer than {FEWEST_SENTENCES} say too little, whatever p is"
        )
    for measurement in measurements:
        name = measurement.asking.entrant.name
        widest = max(map(relative_width, measurement.paces()))
        if widest > settings.tight:
            found.append(
                f"{name}: after {rounds} rounds the interval of its time still reaches {100 * widest:.0f} % to a side "
                f"(wanted: {100 * settings.tight:.0f} %); ratios to other models are steadier"
            )
        if refused := sum(output.was_refused for output in measurement.outputs):
            found.append(
                f"{name}: {refused} of {len(measurement.outputs)} items were longer than it takes, and count as empty"
            )
    return found


def _prompt_warnings(asked: Sequence[_Asked], plan: ComparisonPlan) -> Iterator[str]:
    """Of language models that, in the best of words, are no better than a copy of the input."""
    if plan.development is None:
        return
    task, items = plan.task, plan.development.items
    copied = sentence_statistics(
        task.metrics[0], items.inputs, items.references, task.target_language, items.inputs
    ).score()
    for choice, entrant in ((one.choice, one.asking.entrant) for one in asked):
        best = max((trial.score or 0.0 for trial in choice.trials), default=0.0) if choice else copied + 1
        if best <= copied:
            yield (
                f"{entrant.name}: no prompt scored more on development text ({best:.1f} {task.metrics[0]}) than "
                f"copying the input ({copied:.1f}); the best of them is used"
            )
