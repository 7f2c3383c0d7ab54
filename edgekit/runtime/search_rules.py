"""What a model's own settings forbid a search to go on with: an early end, and n-grams that a target has already.

The rules are transformers' (4.57, MinLengthLogitsProcessor and NoRepeatNGramLogitsProcessor): a forbidden continuation
is left out, the probabilities of the others stay as they are. Few are forbidden at a step, so a search asks its graph
for so many more candidates and strikes them out: nothing of the vocabulary's size leaves the graph here either.

In: the ids of each beam so far. Out: the candidates that remain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.generation import Generation
from edgekit.runtime.beam_scores import IMPOSSIBLE, Candidates


class Forbidden(NamedTuple):
    """What may not follow in one step.

    Attributes:
        most: in any sentence, over its beams: at most so many candidates are struck out.
        ids: int64 ``[batch, beams, n]``, ids that may not follow a beam; -1 stands for none.
    """

    most: int
    ids: NDArray[np.int64]

    def strike(self, candidates: Candidates, kept: int) -> Candidates:
        """The best ``kept`` of a step's candidates, those that are forbidden last and impossible."""
        of_beam = np.take_along_axis(self.ids, candidates.beams[:, :, None], 1)
        scores = np.where((of_beam == candidates.ids[:, :, None]).any(axis=2), IMPOSSIBLE, candidates.scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
        return candidates._replace(scores=scores).ranked(order)


def forbidden(generation: Generation, targets: NDArray[np.int64]) -> Forbidden:
    """What may not follow ``targets``, int64 ``[batch, beams, length]``, the start token and what was found so far."""
    ids = np.full((*targets.shape[:2], 1), -1, np.int64)
    if targets.shape[2] <= generation.min_length:
        ids[:] = generation.eos_token_id
    if size := generation.no_repeat_ngram_size:
        ids = np.concatenate([ids, repeating(targets, size)], axis=2)
    return Forbidden(int((ids >= 0).sum(axis=(1, 2)).max(initial=0)), ids)


def repeating(targets: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Ids that would repeat an n-gram of ``size`` ids: int64 ``[batch, beams, n]``, -1 for none."""
    if targets.shape[2] < size:
        return np.empty((*targets.shape[:2], 0), np.int64)
    ngrams = np.lib.stride_tricks.sliding_window_view(targets, size, axis=2)
    last = targets[:, :, targets.shape[2] - size + 1 :]
    found: NDArray[np.int64] = np.where((ngrams[..., :-1] == last[:, :, None]).all(axis=3), ngrams[..., -1], -1)
    return found
