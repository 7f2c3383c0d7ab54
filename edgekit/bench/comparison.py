"""The result of comparing models on one task: quality, costs, and what tells them from chance. Values only.

A `TaskComparison` is all that a report is made of: `to_json` writes it, `from_json` reads it back, and nothing else
passes between who measures (`edgekit.bench.task_benchmark`) and who shows (`edgekit.report`). MB are 10^6 bytes, words
are what white space separates in the *source*, so that no figure depends on a model's tokenizer. What each figure
includes is in benchmarks/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.bench.environment import Conditions, Environment
from edgekit.bench.json_values import from_values, to_values
from edgekit.errors import InputError

__all__ = [
    "COMPARISON_KIND", "COST_FIGURES", "Costs", "Difference", "Fit", "Floor", "Memory", "ModelResult", "Pair",
    "Prompt", "PromptChoice", "PromptTrial", "Ratio", "Score", "Settings", "TaskComparison", "TaskText", "TimedFigure",
    "from_json", "to_json",
]  # fmt: skip

COMPARISON_KIND = "task-comparison"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TimedFigure:
    """A figure that was measured once a round.

    Attributes:
        median: Over the rounds.
        low: Lower end of the median's 95 % interval (of order statistics); of fewer than 6 rounds, the smallest.
        high: Upper end.
        rounds: Each round's.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """How many times one model's figure is another's: the median of the rounds' ratios with its 95 % interval.

    Both ran in each round, so what slows the machine for a while slows both.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """A corpus score from 0 to 100, with its 95 % bootstrap interval over test items."""

    points: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The first model's score minus the second's: paired bootstrap over test items (Koehn 2004).

    Attributes:
        points: On the whole test set; positive where the first is better.
        ci95: 95 % interval.
        p_value: Two-sided: how often resamples stray from their mean by as much as ``points``, at least
            1 / (resamples + 1).
    """

    points: float
    ci95: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Prompt:
    """How a decoder-only model is asked; placeholders are ``{input}``, ``{output}`` and the languages' names.

    A *completion* is ``begin``, then for each example ``ask`` and ``answer``, then ``ask`` with the text to work on. A
    *chat* has ``begin`` as the system's message (none if empty), and each ``ask`` as the user's, each ``answer`` as the
    assistant's.

    Attributes:
        name: Short, unique among the candidates.
        style: ``completion`` or ``chat``.
        begin: Instruction, may be empty.
        ask: Holds ``{input}``.
        answer: Holds ``{output}``.
        shots: How many examples of development text come first.
        stop: Texts that end the output.
    """

    name: str
    style: str
    begin: str
    ask: str
    answer: str
    shots: int
    stop: tuple[str, ...]


@dataclass(frozen=True)
class PromptTrial:
    """A candidate on development text: its score in the task's metric; None with a ``reason`` where it cannot run."""

    prompt: Prompt
    score: float | None
    reason: str | None = None


@dataclass(frozen=True)
class PromptChoice:
    """Which prompt a model got, and how it was chosen.

    Attributes:
        chosen: The candidate's name.
        trials: All candidates, in the order in which they were tried; a single one of the user's has no score.
        devset: Name of the development text.
        devset_sha256: Its digest.
        devset_items: How many items candidates were scored on; examples are other items.
        shown: What the model reads for the first test item, messages marked ``<user>`` and so on.
    """

    chosen: str
    trials: tuple[PromptTrial, ...]
    devset: str
    devset_sha256: str
    devset_items: int
    shown: str


@dataclass(frozen=True)
class Costs:
    """What a model's work takes, one item at a time unless the name says bulk.

    Attributes:
        latency_ms_p50: Of an item, from its text to its whole output, tokenisation included.
        latency_ms_p95: The 95th percentile.
        first_output_ms: Median time until something can be shown. A translator gives its output whole.
        ms_per_word: Time by source words.
        ms_per_sentence: Mean time of an item.
        words_per_second: Source words per second.
        words_per_second_bulk: The same with all texts in one call.
        cpu_seconds_per_1000_words: CPU time of the process, all its threads.
        cpu_seconds_per_1000_words_bulk: The same in bulk.
        joules_per_1000_words: Energy of the CPU packages, whatever else they did; None where it cannot be read.
        price_per_million_words: In the unit of ``--price-per-hour``, from the bulk throughput; None without a price.
        load_ms: `edgekit.load`, one figure a process.
        item_latency_ms: For each of the timed items the median over the rounds.
    """

    latency_ms_p50: TimedFigure
    latency_ms_p95: TimedFigure
    first_output_ms: TimedFigure
    ms_per_word: TimedFigure
    ms_per_sentence: TimedFigure
    words_per_second: TimedFigure
    words_per_second_bulk: TimedFigure
    cpu_seconds_per_1000_words: TimedFigure
    cpu_seconds_per_1000_words_bulk: TimedFigure
    joules_per_1000_words: TimedFigure | None
    price_per_million_words: TimedFigure | None
    load_ms: TimedFigure
    item_latency_ms: tuple[float, ...]


# The figures of `Costs` that ratios between models are made of.
COST_FIGURES = (
    "latency_ms_p50", "latency_ms_p95", "first_output_ms", "ms_per_word", "ms_per_sentence", "words_per_second",
    "words_per_second_bulk", "cpu_seconds_per_1000_words", "cpu_seconds_per_1000_words_bulk", "joules_per_1000_words",
    "price_per_million_words",
)  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Memory of a process that has loaded the model, its interpreter and libraries included.

    Attributes:
        peak_mb: Largest resident memory, bulk included; None where the system does not say.
        peak_single_mb: The same of a process that works on one item at a time only.
        smallest_limit_mb: The smallest memory limit under which it still loads the model and works on items one at a
            time; None where no limit can be set.
        limit_kind: What the limit was: ``cgroup MemoryMax``, which counts resident memory as a container's does, or
            ``RLIMIT_DATA``, which counts private memory whether it is resident or not (`edgekit.bench.memory_limit`).
        mapped_mb: Resident pages of files (libraries, weights that are read in place), part of ``peak_single_mb``; the
            system may drop them.
    """

    peak_mb: float | None
    peak_single_mb: float | None
    smallest_limit_mb: float | None
    limit_kind: str | None
    mapped_mb: float | None


@dataclass(frozen=True)
class Fit:
    """Whether the model runs within what ``--memory`` and ``--cores`` allow.

    Attributes:
        memory_mb: The limit; None for none.
        cores: Logical cores that the process could use; None for all.
        fits: Whether it did all of the items it was given, within the memory.
        reason: Why not; None where it fits.
        latency_ms_p50: Under these limits; None where it does not fit.
    """

    memory_mb: float | None
    cores: int | None
    fits: bool
    reason: str | None
    latency_ms_p50: float | None


@dataclass(frozen=True)
class ModelResult:
    """One model on the task.

    Attributes:
        name: Unique in the comparison, such as ``firefox-en-pt int8``.
        model: The bundle's own name.
        precision: Of its weights.
        kind: ``seq2seq`` or ``causal-lm``.
        bundle: The directory's name.
        source: Where the weights came from.
        size_mb: All files of the bundle.
        quality: Scores by metric.
        outputs: One for each test item, cut and cleaned.
        cleaned: How many outputs the rules of cleaning changed, white space aside; 0 for translators.
        prompt: How it was asked; None for models that take the text itself.
        costs: Time, energy, money.
        memory: Memory.
        fit: Whether it fits; None where nothing was asked.
    """

    name: str
    model: str
    precision: str
    kind: str
    bundle: str
    source: str
    size_mb: float
    quality: Mapping[str, Score]
    outputs: tuple[str, ...]
    cleaned: int
    prompt: PromptChoice | None
    costs: Costs
    memory: Memory
    fit: Fit | None


@dataclass(frozen=True)
class Floor:
    """What needs no model: ``copying the input``, ``empty output``."""

    name: str
    quality: Mapping[str, Score]


@dataclass(frozen=True)
class Pair:
    """Two models compared: the first against the second, by their names.

    Attributes:
        first: Name of a model.
        second: Name of a later one.
        quality: Differences by metric, first minus second.
        ratios: By name of `COST_FIGURES`: the first's by the second's.
    """

    first: str
    second: str
    quality: Mapping[str, Difference]
    ratios: Mapping[str, Ratio]


@dataclass(frozen=True)
class TaskText:
    """What was asked of the models.

    Attributes:
        task: Such as ``translate:en-pt``, or the name in a task's file.
        metric: The metric that decides; the first of ``metrics``.
        metrics: Signatures by metric.
        source_language: ISO 639-1, or None.
        target_language: ISO 639-1, or None.
        testset: Name of the test set.
        sha256: Digest of its file.
        license: Its licence.
        inputs: Texts given to the models.
        references: For each, one or more texts that would be right.
        words: White-space words of all inputs.
        timed_items: Indices of the items that were timed one at a time.
        timed_items_bulk: Indices of those timed in bulk.
    """

    task: str
    metric: str
    metrics: Mapping[str, str]
    source_language: str | None
    target_language: str | None
    testset: str
    sha256: str
    license: str
    inputs: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    words: int
    timed_items: tuple[int, ...]
    timed_items_bulk: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """How it was measured; see `edgekit.bench.task_benchmark.TaskSettings`.

    Attributes:
        threads: Threads for one inference.
        rounds: Timed rounds that were run.
        tight: Relative half width of an interval at which rounds end.
        limit: First items of the test set that were used; None for all.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        price_per_hour: Of the machine; None where none was given.
        command: The command line that repeats it, without paths of this machine's installation.
    """

    threads: int
    rounds: int
    tight: float
    limit: int | None
    resamples: int
    seed: int
    price_per_hour: float | None
    command: str


@dataclass(frozen=True)
class TaskComparison:
    """Everything about one comparison; ``warnings`` are sentences for a reader, without full stops."""

    task: TaskText
    settings: Settings
    environment: Environment
    conditions: Conditions
    models: tuple[ModelResult, ...]
    floors: tuple[Floor, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]


def to_json(comparison: TaskComparison) -> str:
    """JSON that ends in a newline: ``schema_version``, ``report`` (`COMPARISON_KIND`) and the fields by their names."""
    values = {"schema_version": SCHEMA_VERSION, "report": COMPARISON_KIND, **to_values(comparison)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, where: str = "the report") -> TaskComparison:
    """What `to_json` wrote.

    Args:
        text: JSON.
        where: Where it is from, for messages.

    Raises:
        InputError: It is no JSON, no task comparison, of a later schema version, or lacks something.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected JSON of edgekit bench, found none ({error})") from None
    if not isinstance(values, dict) or values.get("report") != COMPARISON_KIND:
        raise InputError(f"{where}: expected a report of edgekit bench --task, found something else")
    if values.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{where}: expected schema version {SCHEMA_VERSION}, found {values.get('schema_version')!r}; "
            "use the edgekit that wrote it"
        )
    return from_values(TaskComparison, values, where)
