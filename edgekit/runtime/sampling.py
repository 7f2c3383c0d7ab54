"""The next token from one row of logits: the greedy one, or one drawn at random from what the filters leave.

In: ``float32 [vocabulary]``, the ids seen so far, settings. Out: one id. A row is calculated by itself with a random
generator of its own, so a text depends on its seed and never on its neighbours in a batch.

Order and formulas are those of transformers 4.57 (generation/logits_process.py): repetition penalty, temperature,
top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BundleError

# 64 nats below the likeliest, where a probability is 1e-28, and not many tokens of one bin to sort.
BINS, BINS_PER_NAT = 2048, 32


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen; `edgekit.runtime.arguments.sampling` makes one from checked values.

    Attributes:
        temperature: from 0, which takes the most likely token.
        top_k: only so many of the most likely tokens count; None for all.
        top_p: only the most likely tokens that together have this probability count (Holtzman et al. 2020,
            arXiv:1904.09751, section 3.1); None or 1 for all.
        min_p: only tokens at least this times as probable as the likeliest count (Nguyen et al. 2024,
            arXiv:2407.01082, section 3); None or 0 for all.
        repetition_penalty: divides positive and multiplies negative logits of tokens seen in the prompt or the output
            (Keskar et al. 2019, arXiv:1909.05858, section 4.1); 1 for none.
        seed: makes draws reproducible; None for another text each time.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None

    @property
    def needs_logits(self) -> bool:
        """Whether the choice may differ from the graph's own ArgMax."""
        return self.temperature > 0 or self.repetition_penalty != 1


class Sampler:
    """Chooses the tokens of one text."""

    def __init__(self, sampling: Sampling, prompt: Iterable[int], vocabulary: int) -> None:
        """``prompt`` counts as seen for the repetition penalty; ``vocabulary`` is the length of a row of logits."""
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)
        self._seen = np.zeros(vocabulary if sampling.repetition_penalty != 1 else 0, bool)
        if self._seen.size:
            self._seen[np.fromiter(prompt, np.int64)] = True

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next id from ``float32 [vocabulary]``, which stays as it is.

        Raises:
            BundleError: the logits are not numbers, as those of damaged weights.
        """
        if not np.isfinite(logits.max()):
            raise BundleError("the model's logits are not numbers: its weights are damaged; export the model again")
        sampling = self._sampling
        seen = np.flatnonzero(self._seen)
        if sampling.temperature:
            token_id = draw(*process_logits(logits, seen, sampling), self._random)
        else:
            token_id = int(np.argmax(penalize(logits, seen, sampling.repetition_penalty)))
        if self._seen.size:
            self._seen[token_id] = True
        return token_id


def process_logits(
    logits: NDArray[np.float32], seen: NDArray[np.int64], sampling: Sampling
) -> tuple[NDArray[np.int64] | None, NDArray[np.float32]]:
    """The tokens that count, and their logits as a softmax is to be taken of them: penalised, cooled, filtered.

    Args:
        logits: ``float32 [vocabulary]``.
        seen: ids of the prompt and the output, each once.
        sampling: the settings; the temperature above 0.

    Returns:
        The ids that the filters left, rising, ``int64 [count]``, or None for all; and their scores, ``float32
        [count]``, the largest 0 (a softmax does not see the shift).
    """
    scores = penalize(logits, seen, sampling.repetition_penalty)
    # The largest becomes 0 before the division, or a temperature near 0 would make infinities of it.
    scores -= scores.max()
    with np.errstate(over="ignore"):
        scores /= np.float32(max(sampling.temperature, float(np.finfo(np.float32).tiny)))
    ids = None
    if sampling.top_k is not None and sampling.top_k < len(scores):
        kth_largest = np.partition(scores, len(scores) - sampling.top_k)[len(scores) - sampling.top_k]
        ids, scores = _keep(scores >= kth_largest, ids, scores)
    if sampling.top_p is not None and sampling.top_p < 1:
        ids, scores = _keep(most_likely(scores, sampling.top_p), ids, scores)
    if sampling.min_p:
        ids, scores = _keep(np.exp(scores) >= np.float32(sampling.min_p), ids, scores)
    return ids, scores


def _keep(
    kept: NDArray[np.bool_], ids: NDArray[np.int64] | None, scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    places = np.flatnonzero(kept)
    return places if ids is None else ids[places], scores[places]


def penalize(logits: NDArray[np.float32], seen: NDArray[np.int64], penalty: float) -> NDArray[np.float32]:
    """A copy in which tokens that were seen are less likely (more likely for a penalty below 1)."""
    scores = logits.copy()
    if penalty != 1:
        found = logits[seen]
        scores[seen] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))
    return scores


def most_likely(scores: NDArray[np.float32], top_p: float) -> NDArray[np.bool_]:
    """Which are the fewest most likely tokens that have probability ``top_p`` or more together; of equals the first.

    Sorting a whole vocabulary takes milliseconds, so scores are counted into bins, and one bin is sorted.

    Args:
        scores: ``float32 [count]``, the largest 0.
        top_p: above 0 and below 1.
    """
    probabilities = np.exp(scores)
    bins = np.minimum(scores * np.float32(-BINS_PER_NAT), np.float32(BINS - 1)).astype(np.int64)
    # reached[b]: the probability of the bins before b, all more likely than those of bin b.
    reached = np.concatenate([[0.0], np.cumsum(np.bincount(bins, probabilities, BINS))])
    needed = top_p * reached[-1]
    last = min(int(np.searchsorted(reached, needed)), BINS) - 1
    kept = bins < last
    inside = np.flatnonzero(bins == last)
    inside = inside[np.argsort(-scores[inside], kind="stable")]
    share = reached[last] + np.cumsum(probabilities[inside], dtype=np.float64)
    # A token stays while those before it don't reach top_p.
    kept[inside[: 1 + np.searchsorted(share[:-1], needed)]] = True
    return kept


def draw(ids: NDArray[np.int64] | None, scores: NDArray[np.float32], random: np.random.Generator) -> int:
    """Draws an id with the probabilities that a softmax of ``scores`` gives; see `process_logits`."""
    # In the order of the ids: rounding that differs in the last bit hardly ever changes what is drawn.
    shares = np.cumsum(np.exp(scores), dtype=np.float64)
    place = min(int(np.searchsorted(shares, random.random() * shares[-1], side="right")), len(scores) - 1)
    return place if ids is None else int(ids[place])
