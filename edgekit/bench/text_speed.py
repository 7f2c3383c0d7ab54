"""Times the text generation of bundles that are compared with each other: prefill, decode, first token, load, memory.

Each variant runs in a worker process of its own (`edgekit.bench.worker`). All are loaded and warmed up, then take turns
round by round (A B A B ...), so that a machine that slows down slows all of them; a figure is the median of its rounds.
Every timed prefill has a prompt that no request had before: a common beginning would be remembered, not read.
In: variants, the text that prompts are cut from, `TextBenchSettings`. Out: `SpeedMeasurement`s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgekit.bench.conditions import MachineWatch
from edgekit.bench.environment import Conditions
from edgekit.bench.loads import start_workers
from edgekit.bench.settings import MeasurementSettings
from edgekit.bench.variants import Variant
from edgekit.bench.worker_process import WorkerProcess, worker_command
from edgekit.errors import InputError

__all__ = ["SpeedMeasurement", "SpeedRequest", "TextBenchSettings", "measure_speed", "speed_requests"]


@dataclass(frozen=True)
class TextBenchSettings(MeasurementSettings):
    """What is measured.

    Attributes:
        context: Most tokens of a window in which perplexity is counted; a model's own context if that is shorter.
        stride: Tokens counted in a window; half of the window if that is less.
        prompt_tokens: Lengths of the prompts whose prefill is timed; the first is also that of the others' prompts.
        new_tokens: Tokens of a timed text.
    """

    context: int = 512
    stride: int = 256
    prompt_tokens: tuple[int, ...] = (128, 512)
    new_tokens: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(1, "stride")
        self.refuse_below(2, "context", "new_tokens", unit=" tokens")
        if self.stride >= self.context:
            raise InputError(f"stride must be below the context of {self.context} tokens, found {self.stride}")

    def window(self, context_length: int) -> tuple[int, int]:
        """Context and stride for a model that takes ``context_length`` tokens, at least 2."""
        if context_length >= self.context:
            return self.context, self.stride
        return context_length, min(self.stride, context_length // 2)


@dataclass(frozen=True)
class SpeedRequest:
    """One timed request: a prompt of so many tokens, so many that follow, and whether these are drafted."""

    prompt_tokens: int
    new_tokens: int
    prompt_lookup: bool = False


def speed_requests(settings: TextBenchSettings, context_length: int) -> list[SpeedRequest]:
    """What a round times: a prefill for each prompt length, then a text without and one with prompt lookup.

    Example: ``[(128, 1), (512, 1), (128, 64), (128, 64, True)]``; shorter where the context is: of 96 tokens
    ``[(95, 1), (48, 48), (48, 48, True)]``.
    """
    lengths = dict.fromkeys(min(length, context_length - 1) for length in settings.prompt_tokens)
    prompt = min(settings.prompt_tokens[0], max(1, context_length // 2))
    new = min(settings.new_tokens, context_length - prompt)
    prefills = [SpeedRequest(length, 1) for length in lengths]
    return [*prefills, SpeedRequest(prompt, new), SpeedRequest(prompt, new, prompt_lookup=True)]


@dataclass
class SpeedMeasurement:
    """What one variant gave; a list has one figure a round, or a process for the loads.

    Attributes:
        variant: What was measured.
        import_ms: Import of edgekit and its runtime.
        load_ms: Load of the bundle, its files verified before and in the page cache.
        prefill_tokens_per_second: By prompt length.
        decode_tokens_per_second: Tokens after the first by their time, each in a step of its own.
        lookup_tokens_per_second: The same with prompt lookup, which a caller asks for.
        first_token_ms: From a text's ids to the first token's, for the first prompt length.
        decode: Prompt and new tokens of the text that decode was timed on.
        peak_rss_bytes: Largest resident memory of the measured process, its interpreter and libraries included.
    """

    variant: Variant
    decode: SpeedRequest
    import_ms: list[float] = field(default_factory=list)
    load_ms: list[float] = field(default_factory=list)
    prefill_tokens_per_second: dict[int, list[float]] = field(default_factory=dict)
    decode_tokens_per_second: list[float] = field(default_factory=list)
    lookup_tokens_per_second: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    peak_rss_bytes: int | None = None


def measure_speed(
    variants: Sequence[Variant],
    context_length: int,
    text: str,
    settings: TextBenchSettings,
    advance: Callable[[int], None],
    command: Callable[[Path, int], list[str]] = worker_command,
) -> tuple[list[SpeedMeasurement], Conditions]:
    """Measure variants side by side.

    Args:
        variants: What to compare; all are in memory at once.
        context_length: Most tokens that the model takes.
        text: What prompts are cut from; used from its beginning again where it is too short.
        settings: What to measure.
        advance: Called with a number of tokens each time that so many are done.
        command: Command line of a worker for a bundle and a number of threads.

    Returns:
        A measurement for each variant, in their order, and what the machine did during the timed rounds.

    Raises:
        WorkerError: A bundle cannot be loaded, or a worker died, answered nonsense or took too long.
    """
    requests = speed_requests(settings, context_length)
    measurements = [SpeedMeasurement(variant, requests[-2]) for variant in variants]
    with ExitStack() as stack:
        workers = start_workers(stack, measurements, settings, command)
        prompts = [_Prompts(worker.request("encode", text=text)["ids"]) for worker in workers]
        for worker, cut in zip(workers, prompts, strict=True):
            for request in requests:
                _time(worker, request, cut)
        watch = MachineWatch(worker.pid for worker in workers)
        for _ in range(settings.rounds):
            watch.begin_round()
            for request in requests:
                for measurement, worker, cut in zip(measurements, workers, prompts, strict=True):
                    _record(measurement, request, *_time(worker, request, cut))
                    advance(request.prompt_tokens + request.new_tokens)
        conditions = watch.finish()
        for measurement, worker in zip(measurements, workers, strict=True):
            measurement.peak_rss_bytes = worker.request("peak_memory")["peak_rss_bytes"]
            worker.request("quit")
    return measurements, conditions


class _Prompts:
    """Cuts prompts from an endless repetition of ids, each behind the one before it."""

    def __init__(self, ids: list[int]) -> None:
        self._endless = itertools.cycle(ids)
        self._last: list[int] = []

    def prompt(self, request: SpeedRequest) -> list[int]:
        """The next ids; those of the last request for prompt lookup, which is compared with it."""
        if not request.prompt_lookup:
            self._last = list(itertools.islice(self._endless, request.prompt_tokens))
        return self._last


def _time(worker: WorkerProcess, request: SpeedRequest, prompts: _Prompts) -> tuple[float, float]:
    """Seconds to the first token, and from it to the last."""
    reply = worker.request("generate", ids=prompts.prompt(request), **asdict(request))
    return reply["first_seconds"], reply["following_seconds"]


def _record(measurement: SpeedMeasurement, request: SpeedRequest, first: float, following: float) -> None:
    if request.new_tokens > 1:
        rate = (request.new_tokens - 1) / following
        lookup, plain = measurement.lookup_tokens_per_second, measurement.decode_tokens_per_second
        (lookup if request.prompt_lookup else plain).append(rate)
        return
    rates = measurement.prefill_tokens_per_second
    rates.setdefault(request.prompt_tokens, []).append(request.prompt_tokens / first)
    if request.prompt_tokens == next(iter(rates)):
        measurement.first_token_ms.append(1e3 * first)
