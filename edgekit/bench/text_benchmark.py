"""Plans and runs a benchmark of language models: bundles and texts in, a `TextReport` out.

Bundles that were made from the same files are compared with each other: scored in one pass, measured side by side, and
their losses are against the fp32 one among them. Others are measured one after the other. Nothing is exported or
written here. Everything that can be refused (a bundle, a text, a setting) is refused by `plan_text_benchmark`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bench.conditions import usual_probe_ms
from edgekit.bench.environment import Conditions, Environment, busy_reason, read_environment
from edgekit.bench.rounds import BYTES_PER_MB, disagreement, median_and_range
from edgekit.bench.text_models import load_models
from edgekit.bench.text_quality import TextQuality, score_text
from edgekit.bench.text_speed import SpeedMeasurement, TextBenchSettings, measure_speed, speed_requests
from edgekit.bench.variants import Variant, common_task, group_variants
from edgekit.bench.worker_process import worker_command
from edgekit.bundle.generation import TextGeneration
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError, UnsupportedError
from edgekit.quality.perplexity import perplexity, perplexity_loss
from edgekit.quality.plain_text import DEFAULT_TEXT, EvaluationText, load_text

__all__ = [
    "TextBenchmarkPlan", "TextGroup", "TextReport", "TextResult", "load_texts", "plan_text_benchmark",
    "run_text_benchmark",
]  # fmt: skip

# A prompt of one token and two that follow.
LEAST_CONTEXT = 3


@dataclass(frozen=True)
class TextGroup:
    """Variants of one model, and the most tokens that it takes."""

    variants: tuple[Variant, ...]
    context_length: int


@dataclass(frozen=True)
class TextBenchmarkPlan:
    """What will be measured, on which texts."""

    groups: tuple[TextGroup, ...]
    texts: tuple[EvaluationText, ...]
    settings: TextBenchSettings

    @property
    def steps(self) -> int:
        """Words scored and tokens timed that `run_text_benchmark` will report through ``advance``."""
        words = sum(text.words for text in self.texts)
        return sum(len(group.variants) * (words + self._timed_tokens(group)) for group in self.groups)

    def _timed_tokens(self, group: TextGroup) -> int:
        requests = speed_requests(self.settings, group.context_length)
        return self.settings.rounds * sum(request.prompt_tokens + request.new_tokens for request in requests)


@dataclass(frozen=True)
class TextResult:
    """One bundle on one text; see benchmarks/README.md for what each figure includes.

    ``bundle`` is the directory's name, ``source`` where the weights came from and ``source_quantization`` how these
    were quantised already, None where they were floats. Losses and divergences are None for the fp32 baseline itself
    and where there is none; ``word_perplexity`` is None beyond a float. ``prefill_tokens_per_second`` is by prompt
    length. ``spread`` holds the smallest and largest round (or load) of each timed figure. MB are 10^6 bytes.
    """

    model: str
    precision: str
    bundle: str
    source: str
    source_quantization: str | None
    text: str
    context: int
    stride: int
    tokens: int
    perplexity: float
    perplexity_ci95: tuple[float, float]
    nats_per_token: float
    bits_per_byte: float
    word_perplexity: float | None
    perplexity_loss_percent: float | None
    perplexity_loss_percent_ci95: tuple[float, float] | None
    mean_kl: float | None
    p99_kl: float | None
    max_kl: float | None
    top1_agreement: float | None
    prefill_tokens_per_second: Mapping[str, float]
    decode_tokens_per_second: float
    lookup_tokens_per_second: float
    decode_prompt_tokens: int
    decode_new_tokens: int
    first_token_ms: float
    load_ms: float
    import_ms: float
    peak_rss_mb: float | None
    size_mb: float
    threads: int
    rounds: int
    spread: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class TextReport:
    """All results with what they were measured on; fields as in `edgekit.bench.benchmark.Report`."""

    environment: Environment
    background_cores_during: float
    probe_ms: float | None
    settings: TextBenchSettings
    texts: tuple[EvaluationText, ...]
    results: tuple[TextResult, ...]
    warnings: tuple[str, ...]


def plan_text_benchmark(
    bundles: Sequence[Path], texts: Sequence[str], settings: TextBenchSettings
) -> TextBenchmarkPlan:
    """Open the bundles and load the texts.

    Args:
        bundles: Directories of bundles; one given twice is measured once.
        texts: Names of packaged texts or paths; none takes `edgekit.quality.plain_text.DEFAULT_TEXT`.
        settings: What to measure.

    Raises:
        ModelNotFoundError: A bundle is missing.
        BundleError: A bundle is damaged, hostile or of an unknown version.
        UnsupportedError: A bundle does not generate text, or its context is too short to measure.
        InputError: There is no bundle, or a text cannot be used.
    """
    if (task := common_task(bundles)) != "text-generation":
        raise UnsupportedError(f"{bundles[0]}: expected a bundle that generates text, found one for {task}")
    groups = []
    for variants in group_variants(bundles):
        generation = open_bundle(variants[0].bundle).manifest.generation
        assert isinstance(generation, TextGeneration)
        if generation.context_length < LEAST_CONTEXT:
            raise UnsupportedError(
                f"{variants[0].bundle}: expected a context of {LEAST_CONTEXT} tokens or more to measure, found "
                f"{generation.context_length}"
            )
        groups.append(TextGroup(tuple(variants), generation.context_length))
    return TextBenchmarkPlan(tuple(groups), load_texts(texts, settings.limit), settings)


def load_texts(names: Sequence[str], limit: int | None) -> tuple[EvaluationText, ...]:
    """What perplexity is of.

    Args:
        names: Of packaged texts, or paths; none takes `edgekit.quality.plain_text.DEFAULT_TEXT`.
        limit: Lines of each text to use, from its beginning; None for all.

    Raises:
        InputError: There is no such text or file, or it cannot be used; or two have one name.
    """
    loaded = [load_text(name).first(limit) for name in dict.fromkeys(names or [DEFAULT_TEXT])]
    found = [text.name for text in loaded]
    if repeated := sorted({name for name in found if found.count(name) > 1}):
        raise InputError(f"two texts are named {repeated[0]}: rename a file, so that results can be told apart")
    return tuple(loaded)


def run_text_benchmark(
    plan: TextBenchmarkPlan,
    advance: Callable[[int], None] = lambda _: None,
    command: Callable[[Path, int], list[str]] = worker_command,
    environment: Environment | None = None,
) -> TextReport:
    """Score and measure what was planned.

    Args:
        plan: From `plan_text_benchmark`.
        advance: Called with a number each time that so much is done; `TextBenchmarkPlan.steps` in all.
        command: Command line of a worker; see `edgekit.bench.text_speed.measure_speed`.
        environment: The machine as it was before; None reads it now.

    Raises:
        BundleError: A bundle cannot be loaded.
        InputError: A text is too short for a figure, or longer than a tokenizer takes.
        WorkerError: A worker died, answered nonsense or took too long.
    """
    environment = environment or read_environment()
    results: list[TextResult] = []
    watched: list[Conditions] = []
    for group in plan.groups:
        qualities = _score(group, plan, advance)
        prompts = load_text(DEFAULT_TEXT).text
        speeds, conditions = measure_speed(
            group.variants, group.context_length, prompts, plan.settings, advance, command
        )
        watched.append(conditions)
        for text, found in zip(plan.texts, qualities, strict=True):
            results += [
                _result(text, group, quality, found[0], speed, plan.settings)
                for quality, speed in zip(found, speeds, strict=True)
            ]
    background = max((conditions.background_cores for conditions in watched), default=0.0)
    warnings = [reason] if (reason := busy_reason(environment, background)) else []
    warnings += dict.fromkeys(warning for result in results if (warning := _disagreement(result)))
    return TextReport(
        environment, background, usual_probe_ms(watched), plan.settings, plan.texts, tuple(results), tuple(warnings)
    )


def _score(group: TextGroup, plan: TextBenchmarkPlan, advance: Callable[[int], None]) -> list[list[TextQuality]]:
    """By text, by variant; the models are let go of before anything is timed."""
    has_baseline = group.variants[0].precision == "fp32"
    window = plan.settings.window(group.context_length)
    with load_models([variant.bundle for variant in group.variants], plan.settings.threads) as models:
        return [score_text(models, text, *window, has_baseline, advance) for text in plan.texts]


def _result(
    text: EvaluationText,
    group: TextGroup,
    quality: TextQuality,
    first: TextQuality,
    speed: SpeedMeasurement,
    settings: TextBenchSettings,
) -> TextResult:
    """A row; ``first`` is the first variant's quality, which is the baseline if that variant is fp32."""
    variant, divergence = speed.variant, quality.divergence
    figures = _timed_figures(speed)
    found = perplexity(quality.losses, settings.resamples, settings.seed)
    compared = group.variants[0].precision == "fp32" and quality is not first
    loss = perplexity_loss(first.losses, quality.losses, settings.resamples, settings.seed) if compared else None
    context, stride = settings.window(group.context_length)
    return TextResult(
        model=variant.model,
        precision=variant.precision,
        bundle=variant.bundle.name,
        source=variant.source,
        source_quantization=variant.source_quantization,
        text=text.name,
        context=context,
        stride=stride,
        tokens=found.tokens,
        perplexity=found.perplexity,
        perplexity_ci95=found.ci95,
        nats_per_token=found.nats_per_token,
        bits_per_byte=found.bits_per_byte,
        word_perplexity=found.word_perplexity,
        perplexity_loss_percent=loss.percent if loss else None,
        perplexity_loss_percent_ci95=loss.ci95 if loss else None,
        mean_kl=divergence.mean_kl if divergence else None,
        p99_kl=divergence.p99_kl if divergence else None,
        max_kl=divergence.max_kl if divergence else None,
        top1_agreement=divergence.top1_agreement if divergence else None,
        prefill_tokens_per_second={
            str(length): figures[f"prefill_tokens_per_second_{length}"][0] for length in speed.prefill_tokens_per_second
        },
        decode_tokens_per_second=figures["decode_tokens_per_second"][0],
        lookup_tokens_per_second=figures["lookup_tokens_per_second"][0],
        decode_prompt_tokens=speed.decode.prompt_tokens,
        decode_new_tokens=speed.decode.new_tokens,
        first_token_ms=figures["first_token_ms"][0],
        load_ms=figures["load_ms"][0],
        import_ms=figures["import_ms"][0],
        peak_rss_mb=None if speed.peak_rss_bytes is None else speed.peak_rss_bytes / BYTES_PER_MB,
        size_mb=variant.size_bytes / BYTES_PER_MB,
        threads=settings.threads,
        rounds=settings.rounds,
        spread={name: (low, high) for name, (_, low, high) in figures.items()},
    )


def _timed_figures(speed: SpeedMeasurement) -> dict[str, tuple[float, float, float]]:
    """Median, smallest and largest of each timed figure."""
    rounds = {f"prefill_tokens_per_second_{length}": rates for length, rates in speed.prefill_tokens_per_second.items()}
    rounds["decode_tokens_per_second"] = speed.decode_tokens_per_second
    rounds["lookup_tokens_per_second"] = speed.lookup_tokens_per_second
    rounds["first_token_ms"] = speed.first_token_ms
    rounds["load_ms"], rounds["import_ms"] = speed.load_ms, speed.import_ms
    return {name: median_and_range(values) for name, values in rounds.items()}


def _disagreement(result: TextResult) -> str | None:
    medians = {f"prefill_tokens_per_second_{length}": rate for length, rate in result.prefill_tokens_per_second.items()}
    medians["decode_tokens_per_second"] = result.decode_tokens_per_second
    return disagreement(result.bundle, medians, result.spread)
