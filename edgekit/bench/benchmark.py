"""Plans and runs a benchmark: bundles and test sets in, a `Report` out.

Bundles of one model and language pair that were made from the same files are compared with each other: measured side by
side, and scored against the first fp32 one among them. Others are measured one after the other. Nothing is exported or
written here. Everything that can be refused (a bundle, a test set, a setting) is refused by `plan_benchmark`, before
minutes of work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bench.conditions import usual_probe_ms
from edgekit.bench.environment import Conditions, Environment, busy_reason, read_environment
from edgekit.bench.measure import (
    BenchSettings,
    TimedRounds,
    VariantMeasurement,
    count_steps,
    measure,
)
from edgekit.bench.rounds import BYTES_PER_MB, disagreement, median_and_range
from edgekit.bench.variants import Variant, common_task, group_variants
from edgekit.bench.worker_process import worker_command
from edgekit.errors import InputError, UnsupportedError
from edgekit.quality.parallel_text import TestSet, load_testset, testset_names
from edgekit.quality.scores import Scores, floor_scores, score_translations

__all__ = ["BenchmarkPlan", "Group", "Report", "Result", "load_testsets", "plan_benchmark", "run_benchmark"]

TIMED_FIGURES = ("latency_ms_p50", "latency_ms_p95", "words_per_second", "words_per_second_batched")


@dataclass(frozen=True)
class Group:
    """Variants of one model and the test sets of its language pair."""

    variants: tuple[Variant, ...]
    testsets: tuple[TestSet, ...]


@dataclass(frozen=True)
class BenchmarkPlan:
    """What will be measured, and how many sentences that is."""

    groups: tuple[Group, ...]
    settings: BenchSettings

    @property
    def steps(self) -> int:
        """Sentences that `run_benchmark` will report through ``advance``."""
        return sum(count_steps(len(group.variants), group.testsets, self.settings) for group in self.groups)


@dataclass(frozen=True)
class Result:
    """One bundle on one test set; see benchmarks/README.md for what each figure includes.

    ``bundle`` is the directory's name and ``source`` where the weights came from. Losses are None for the fp32 baseline
    itself and where there is none. ``spread`` holds the smallest and largest round (or load) of each timed figure. MB
    are 10^6 bytes.
    """

    model: str
    precision: str
    bundle: str
    source: str
    languages: str
    testset: str
    sentences: int
    chrf: float
    bleu: float
    chrf_loss: float | None
    chrf_loss_ci95: tuple[float, float] | None
    bleu_loss: float | None
    bleu_loss_ci95: tuple[float, float] | None
    chrf_floor: float
    bleu_floor: float
    signatures: Mapping[str, str]
    latency_ms_p50: float
    latency_ms_p95: float
    words_per_second: float
    words_per_second_batched: float
    load_ms: float
    import_ms: float
    first_translation_ms: float
    peak_rss_mb: float | None
    size_mb: float
    threads: int
    rounds: int
    spread: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Report:
    """All results with what they were measured on; ``warnings`` are sentences for a reader.

    ``background_cores_during`` is that of the model beside which most other work ran, and ``probe_ms`` as
    `edgekit.bench.environment.Conditions` has it, the median over the models.
    """

    environment: Environment
    background_cores_during: float
    probe_ms: float | None
    settings: BenchSettings
    testsets: tuple[tuple[str, TestSet], ...]
    results: tuple[Result, ...]
    warnings: tuple[str, ...]


def plan_benchmark(bundles: Sequence[Path], testsets: Sequence[str], settings: BenchSettings) -> BenchmarkPlan:
    """Open the bundles and load the test sets.

    Args:
        bundles: Directories of bundles; one given twice is measured once.
        testsets: Names of packaged sets or paths; none takes all that are packaged for each bundle's languages.
        settings: What to measure.

    Raises:
        ModelNotFoundError: A bundle is missing.
        BundleError: A bundle is damaged, hostile or of an unknown version.
        UnsupportedError: A bundle does not translate.
        InputError: There is no bundle, or no test set for a bundle's languages, or a test set cannot be used.
    """
    if (task := common_task(bundles)) != "translation":
        raise UnsupportedError(f"{bundles[0]}: expected a bundle that translates, found one for {task}")
    groups = []
    for variants in group_variants(bundles):
        source, target = variants[0].source_language, variants[0].target_language
        loaded = load_testsets(testsets, variants[0].model, source, target, settings.limit)
        groups.append(Group(tuple(variants), loaded))
    return BenchmarkPlan(tuple(groups), settings)


def run_benchmark(
    plan: BenchmarkPlan,
    advance: Callable[[int], None] = lambda _: None,
    command: Callable[[Path, int], list[str]] = worker_command,
    environment: Environment | None = None,
) -> Report:
    """Measure and score what was planned.

    Args:
        plan: From `plan_benchmark`.
        advance: Called with a number of sentences each time that so many are done; `BenchmarkPlan.steps` in all.
        command: Command line of a worker; see `edgekit.bench.measure.measure`.
        environment: The machine as it was before; None reads it now.

    Raises:
        WorkerError: A bundle cannot be loaded, or a worker died, answered nonsense or took too long.
    """
    environment = environment or read_environment()
    results: list[Result] = []
    watched: list[Conditions] = []
    for group in plan.groups:
        measurements, conditions = measure(group.variants, group.testsets, plan.settings, advance, command)
        watched.append(conditions)
        for position, testset in enumerate(group.testsets):
            results += _results(position, testset, measurements, plan.settings)
    background = max((conditions.background_cores for conditions in watched), default=0.0)
    warnings = [reason] if (reason := busy_reason(environment, background)) else []
    warnings += [warning for result in results if (warning := _disagreement(result))]
    testsets = [(_pair(group.variants[0]), testset) for group in plan.groups for testset in group.testsets]
    return Report(
        environment,
        background,
        usual_probe_ms(watched),
        plan.settings,
        tuple(dict.fromkeys(testsets)),
        tuple(results),
        tuple(warnings),
    )


def load_testsets(
    names: Sequence[str], model: str, source: str | None, target: str | None, limit: int | None
) -> tuple[TestSet, ...]:
    """What a model is measured on.

    Args:
        names: Of packaged sets, or paths; none takes all that are packaged for the languages.
        model: Its name, for messages.
        source: The language that it translates from, or None.
        target: The language that it translates to, or None.
        limit: Pairs of each set to use, from its beginning; None for all.

    Raises:
        InputError: There is no such set or file, or none at all, or it cannot be used; or two have one name.
    """
    if not names:
        names = testset_names(source, target) if source and target else []
    if not names:
        raise InputError(
            f"{model}: no test set is packaged for {source or '?'}-{target or '?'}; give your own source<TAB>reference "
            "lines with --testset FILE.tsv"
        )
    loaded = [load_testset(name, source, target).first(limit) for name in dict.fromkeys(names)]
    repeated = {testset.name for testset in loaded if [other.name for other in loaded].count(testset.name) > 1}
    if repeated:
        raise InputError(
            f"two test sets are named {sorted(repeated)[0]}: rename a file, so that results can be told apart"
        )
    return tuple(loaded)


def _pair(variant: Variant) -> str:
    return f"{variant.source_language or '?'}-{variant.target_language or '?'}"


def _results(
    position: int, testset: TestSet, measurements: Sequence[VariantMeasurement], settings: BenchSettings
) -> list[Result]:
    """The rows of one test set; the first measurement is the baseline if it is fp32."""
    target = measurements[0].variant.target_language
    floor = floor_scores(testset, target)
    baseline: Scores | None = None
    rows = []
    for measurement in measurements:
        translations = measurement.translations[position]
        scores = score_translations(testset, translations, target, baseline, settings.resamples, settings.seed)
        rows.append(_result(measurement, position, testset, scores, floor, settings))
        if baseline is None and measurement.variant.precision == "fp32":
            baseline = scores
    return rows


def _result(
    measurement: VariantMeasurement,
    position: int,
    testset: TestSet,
    scores: Scores,
    floor: Mapping[str, float],
    settings: BenchSettings,
) -> Result:
    variant = measurement.variant
    figures = _timed_figures(measurement.timed[position])
    figures["load_ms"] = median_and_range(measurement.load_ms)
    figures["import_ms"] = median_and_range(measurement.import_ms)
    chrf, bleu = scores.losses.get("chrf"), scores.losses.get("bleu")
    peak = measurement.peak_rss_bytes
    return Result(
        model=variant.model,
        precision=variant.precision,
        bundle=variant.bundle.name,
        source=variant.source,
        languages=_pair(variant),
        testset=testset.name,
        sentences=len(testset),
        chrf=scores.points["chrf"],
        bleu=scores.points["bleu"],
        chrf_loss=chrf.points if chrf else None,
        chrf_loss_ci95=chrf.ci95 if chrf else None,
        bleu_loss=bleu.points if bleu else None,
        bleu_loss_ci95=bleu.ci95 if bleu else None,
        chrf_floor=floor["chrf"],
        bleu_floor=floor["bleu"],
        signatures=scores.signatures,
        first_translation_ms=measurement.first_translation_ms,
        peak_rss_mb=None if peak is None else peak / BYTES_PER_MB,
        size_mb=variant.size_bytes / BYTES_PER_MB,
        threads=settings.threads,
        rounds=settings.rounds,
        spread={name: (low, high) for name, (_, low, high) in figures.items()},
        **{name: median for name, (median, _, _) in figures.items()},
    )


def _timed_figures(timed: TimedRounds) -> dict[str, tuple[float, float, float]]:
    """Median, smallest and largest round of each of `TIMED_FIGURES`."""
    rounds = (
        timed.percentile_ms(50),
        timed.percentile_ms(95),
        timed.words_per_second(),
        timed.words_per_second_batched(),
    )
    return {name: median_and_range(values) for name, values in zip(TIMED_FIGURES, rounds, strict=True)}


def _disagreement(result: Result) -> str | None:
    medians = {name: getattr(result, name) for name in TIMED_FIGURES}
    return disagreement(f"{result.bundle} on {result.testset}", medians, result.spread)
