"""How little memory an entrant needs: its peak, the smallest limit it still runs under, and whether it fits.

Each question is answered by a process of its own that loads the model and works on a few items one at a time, the
longest among them. In: an asking and its worker's command line. Out: `Memory` and `Fit`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from edgekit.bench.asking import Asking
from edgekit.bench.comparison import Fit, Memory
from edgekit.bench.memory_limit import CGROUP, limited_command, smallest_limit
from edgekit.bench.rounds import BYTES_PER_MB
from edgekit.bench.task_rounds import TaskSettings
from edgekit.bench.worker_process import WorkerError, WorkerProcess

__all__ = ["measure_fit", "measure_memory"]

# As many items as this: the longest of those that are timed, and the first. A search starts some ten processes.
ITEMS = 2
# More than the peak: what is reserved counts under some limits.
GUESS = 1.3


def measure_memory(
    asking: Asking,
    command: Sequence[str],
    indices: Sequence[int],
    settings: TaskSettings,
    peak_rss_bytes: int | None,
    kind: str | None,
) -> Memory:
    """Memory of one entrant.

    Args:
        asking: Who, and how it is asked.
        command: Command line of its worker.
        indices: The timed items.
        settings: Threads and timeout.
        peak_rss_bytes: Its peak in the rounds, bulk included.
        kind: Of the limit, from `edgekit.bench.memory_limit.limit_kind`; None for no search.

    Raises:
        WorkerError: Even without a limit it cannot do its work.
    """
    texts = _texts(asking, indices)
    unlimited = _run(asking, command, texts, settings)["memory"]
    peak, mapped = unlimited["peak_rss_bytes"], unlimited["mapped_bytes"]
    least = None
    if kind is not None and peak is not None:

        def works(limit: int) -> bool:
            try:
                _run(asking, limited_command(command, limit, None, kind), texts, settings)
            except WorkerError:
                return False
            return True

        least = smallest_limit(works, round(GUESS * peak))
    return Memory(
        peak_mb=_megabytes(peak_rss_bytes),
        peak_single_mb=_megabytes(peak),
        smallest_limit_mb=_megabytes(least),
        limit_kind=None if least is None else kind,
        mapped_mb=_megabytes(mapped),
    )


def measure_fit(
    asking: Asking, command: Sequence[str], indices: Sequence[int], settings: TaskSettings, kind: str | None
) -> Fit | None:
    """Whether an entrant runs within ``settings.memory_bytes`` and ``settings.cores``; None where neither is given.

    Under a cgroup's limit it runs or is ended. Other limits refuse what would never be resident, so without a cgroup
    the question is whether its largest resident memory, mapped files included, stays within.

    Args:
        asking: Who, and how it is asked.
        command: Command line of its worker.
        indices: The timed items.
        settings: The limits.
        kind: Of the limit, from `edgekit.bench.memory_limit.limit_kind`.
    """
    memory, cores = settings.memory_bytes, settings.cores
    if memory is None and cores is None:
        return None
    asked = _megabytes(memory)
    limit = memory if kind == CGROUP else None
    if limit is not None or cores is not None:
        command = limited_command(command, limit, cores, kind)
    try:
        found = _run(asking, command, _texts(asking, indices), settings)
    except WorkerError as error:
        reason = str(error).removeprefix(f"measuring {asking.entrant.variant.bundle}: ")
        return Fit(asked, cores, False, reason, None)
    peak = found["memory"]["peak_rss_bytes"]
    if memory is not None and peak is not None and peak > memory:
        return Fit(asked, cores, False, f"its resident memory reaches {peak / BYTES_PER_MB:.0f} MB", None)
    return Fit(asked, cores, True, None, statistics.median(answer["ms"] for answer in found["answers"]))


def _texts(asking: Asking, indices: Sequence[int]) -> list[str]:
    inputs = [asking.task.test.inputs[index] for index in indices]
    return [max(inputs, key=len), *inputs[: ITEMS - 1]]


def _run(asking: Asking, command: Sequence[str], texts: Sequence[str], settings: TaskSettings) -> dict[str, Any]:
    bundle = asking.entrant.variant.bundle
    with WorkerProcess(bundle, settings.threads, settings.timeout_s, command) as worker:
        answers = worker.request("answer_each", **asking.fields(texts))["answers"]
        if refused := next((answer["refused"] for answer in answers if "refused" in answer), None):
            raise WorkerError(f"measuring {bundle}: {refused}")
        return {"answers": answers, "memory": worker.request("peak_memory")}


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / BYTES_PER_MB
