"""What the figures were measured on and how: the signature without which they mean nothing.

In: a `TaskComparison`. Out: headings with texts, the same in every form of the report.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.bench.comparison import TaskComparison
from edgekit.report.costs import item_noun

__all__ = ["circumstances"]

# The instruction sets on which the speed of int8 products depends.
INT8_FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def circumstances(comparison: TaskComparison) -> list[tuple[str, str]]:
    """Headings and texts: test set, machine, what else ran, versions, how it was measured, metrics, models."""
    return [*_measured(comparison), *_machine(comparison)]


def _measured(comparison: TaskComparison) -> Iterator[tuple[str, str]]:
    task, settings, noun = comparison.task, comparison.settings, item_noun(comparison)
    limit = "" if settings.limit is None else f"the first {settings.limit:,}; "
    yield (
        "test set",
        f"{task.testset}, {len(task.inputs):,} {noun}s, {task.words:,} words; {limit}{task.license}; "
        f"sha256 {task.sha256}",
    )
    yield (
        "timing",
        f"{settings.rounds} rounds in turns, medians of rounds; {settings.threads} "
        f"thread{'s' if settings.threads > 1 else ''}; {len(task.timed_items):,} {noun}s one at a time, "
        f"{len(task.timed_items_bulk):,} in bulk; rounds end at intervals of ±{100 * settings.tight:g} %",
    )
    yield "intervals of quality", f"paired bootstrap, {settings.resamples:,} resamples, seed {settings.seed}"
    yield from task.metrics.items()
    if settings.price_per_hour is not None:
        yield "price", f"{settings.price_per_hour:g} an hour, by the throughput in bulk"
    for model in comparison.models:
        yield model.name, f"weights from {model.source}"


def _machine(comparison: TaskComparison) -> Iterator[tuple[str, str]]:
    environment, conditions = comparison.environment, comparison.conditions
    flags = " ".join(flag for flag in environment.isa_flags if flag in INT8_FLAGS) or "no int8 instructions known"
    yield (
        "machine",
        f"{environment.cpu} ({flags}), {environment.cores_usable} cores usable, "
        f"{environment.memory_bytes / 1e9:.1f} GB, {environment.os}",
    )
    yield "frequency", f"governor {environment.governor or 'unknown'}; {_frequency(conditions.frequency_mhz)}"
    yield (
        "other work",
        f"{environment.background_cores_before:.2f} cores before, {conditions.background_cores:.2f} during the rounds "
        f"(of which {conditions.stolen_cores:.2f} went to other machines of the host)",
    )
    low, high = conditions.speed_range
    held = [f"the same calculation ran at {low:.2f} to {high:.2f} of its median speed"]
    if conditions.throttle_events is not None:
        held.append(f"{conditions.throttle_events} times slowed for heat")
    if conditions.quota_throttled_seconds is not None:
        held.append(f"held back by a CPU quota for {conditions.quota_throttled_seconds:.1f} s")
    yield "steadiness", "; ".join(held)
    versions = [f"{name} {version}" for name, version in environment.versions.items() if version]
    yield "versions", ", ".join([*versions, f"Python {environment.python}"])


def _frequency(found: tuple[float, float] | None) -> str:
    if found is None:
        return "frequency unknown"
    low, high = found
    return f"{low:,.0f} MHz" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f} MHz"
