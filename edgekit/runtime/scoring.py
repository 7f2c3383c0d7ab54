"""How probable a model finds a text: logits of every position, log-probabilities of every token.

A text runs in chunks like a prompt, so the logits of a chunk are the most that is held, unless all are asked for.

In: ids. Out: float32 logits or natural logarithms of probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.runtime.causal_search import CHUNK_TOKENS, CausalSearch, chunks
from edgekit.runtime.forward_pass import ForwardPass
from edgekit.runtime.state_buffers import StateBuffers


@dataclass(frozen=True)
class TextScore:
    """How probable each token of a text is after those before it.

    Attributes:
        ids: The text's ids, BOS included where the model begins with one.
        log_probabilities: ``float32 [len(ids) - 1]``: the natural logarithm of the probability of ``ids[1:]``.
    """

    ids: tuple[int, ...]
    log_probabilities: NDArray[np.float32]


def calculate_logits(search: CausalSearch, ids: Sequence[int], first: int = 0) -> NDArray[np.float32]:
    """Logits of what follows each id from ``first`` on: ``float32 [len(ids) - first, vocabulary]``."""
    logits = np.empty((len(ids) - first, search.vocabulary), np.float32)
    buffers = StateBuffers(search.states, 1, len(ids))
    for chunk in chunks(0, len(ids)):
        wanted = logits[max(chunk.start - first, 0) : max(chunk.stop - first, 0)]
        _run(search, buffers, ids[chunk.start : chunk.stop], chunk.start, wanted)
    return logits


def most_likely(search: CausalSearch, prompt: Sequence[int], ids: Sequence[int]) -> list[int]:
    """The likeliest id at the place of each of ``ids``, after a prompt and those of them before it."""
    if not prompt or not ids:
        return []
    logits = calculate_logits(search, [*prompt, *ids[:-1]], len(prompt) - 1)
    return [int(index) for index in logits.argmax(axis=1)]


def score_ids(search: CausalSearch, ids: Sequence[int]) -> TextScore:
    """The log-probability of each id but the first."""
    found = np.empty(len(ids) - 1, np.float32)
    buffers = StateBuffers(search.states, 1, len(ids))
    room = np.empty((min(len(ids), CHUNK_TOKENS), search.vocabulary), np.float32)
    for chunk in chunks(0, len(ids) - 1):
        following = np.asarray(ids[chunk.start + 1 : chunk.stop + 1])
        logits = room[: len(chunk)]
        _run(search, buffers, ids[chunk.start : chunk.stop], chunk.start, logits)
        found[chunk.start : chunk.stop] = _log_probabilities(logits, following)
    return TextScore(tuple(ids), found)


def _run(
    search: CausalSearch, buffers: StateBuffers, ids: Sequence[int], start: int, logits: NDArray[np.float32]
) -> None:
    """Runs the next ids; the logits of the last ``len(logits)`` of them are written where they are wanted."""
    count = len(ids)
    rows = np.arange(count - len(logits), count)
    forward = ForwardPass(search.session, search.states, buffers, range(1), count, rows, ("logits", logits))
    forward.input_ids[0] = ids
    forward.past_lengths[0] = start
    forward.run()


def _log_probabilities(logits: NDArray[np.float32], following: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of ``following`` ``[count]`` by ``float32 [count, vocabulary]``, whose rows are overwritten."""
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(following)), following]
    np.exp(logits, out=logits)
    return chosen - np.log(logits.sum(axis=1, dtype=np.float64)).astype(np.float32)
