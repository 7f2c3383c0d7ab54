"""Which beams go on and which hypotheses are kept: the rules of beam search, on arrays of a few numbers a sentence.

The rules are those of transformers' ``generate`` (4.57, GenerationMixin._beam_search), a sentence at a time, so that a
sentence's hypotheses don't depend on its neighbours. A hypothesis scores the sum of its tokens' log-probabilities,
EOS included, over its length to the power of the length penalty (https://arxiv.org/abs/1609.08144, section 7, without
its constants).

In: each step's best continuations. Out: the next step's ids, scores and ancestors, and at the end the hypotheses.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.generation import Generation
from edgekit.errors import InputError
from edgekit.runtime.arguments import whole_number

MOST_BEAMS = 64
# Lengths to this power stay finite in float32.
MOST_PENALTY = 10.0
# A sum of log-probabilities that has met a suppressed id, or that never was a beam's.
IMPOSSIBLE = np.float32(-1e9)
POSSIBLE = IMPOSSIBLE / 2


@dataclass(frozen=True)
class BeamSettings:
    """How beams are scored and when a sentence ends.

    Attributes:
        beams: hypotheses followed, and kept, at once.
        length_penalty: the power of the length that a sum of log-probabilities is divided by; above 0 favours longer
            hypotheses, below 0 shorter ones.
        early_stopping: True ends a sentence once it has ``beams`` finished hypotheses; False also asks that the best
            beam, at its present length, would not come before the worst of them; "never" that it can't at any length.
    """

    beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]

    @classmethod
    def checked(cls, beams: Any, length_penalty: Any, early_stopping: Any) -> BeamSettings:
        """Settings of a caller's values; raises `InputError` naming the one that is wrong."""
        beams = whole_number("beams", beams)
        if beams > MOST_BEAMS:
            raise InputError(f"beams must be a whole number from 1 to {MOST_BEAMS}, found {beams}")
        is_number = isinstance(length_penalty, numbers.Real) and not isinstance(length_penalty, bool)
        penalty = float(length_penalty) if is_number else math.nan
        if not abs(penalty) <= MOST_PENALTY:
            limits = f"{-MOST_PENALTY:g} to {MOST_PENALTY:g}"
            raise InputError(f"length_penalty must be a number from {limits}, found {length_penalty!r}")
        if not isinstance(early_stopping, bool) and early_stopping != "never":
            raise InputError(f"early_stopping must be True, False or 'never', found {early_stopping!r}")
        return cls(beams, penalty, early_stopping)


class ScoredIds(NamedTuple):
    """A hypothesis: its target ids without EOS, and its score (0 at best)."""

    ids: list[int]
    score: float


class Candidates(NamedTuple):
    """The best continuations of each sentence, best first: three arrays ``[batch, candidates]``."""

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    beams: NDArray[np.int64]

    def ranked(self, order: NDArray[np.int64]) -> Candidates:
        """Those of rank ``order``, int64 ``[batch, n]``."""
        return Candidates(
            np.take_along_axis(self.scores, order, 1),
            np.take_along_axis(self.ids, order, 1),
            np.take_along_axis(self.beams, order, 1),
        )


class Beams:
    """The beams of one batch of sentences, and their finished hypotheses.

    Attributes:
        ids: int64 ``[batch, beams]``, each beam's last token.
        scores: float32 ``[batch, beams]``, the sum of its log-probabilities; best first.
        ancestors: int32 ``[batch, beams, capacity]``: in which beam's place its token of each earlier position lay.
        done: bool ``[batch]``, the sentences that have their hypotheses.
        position: steps taken.
    """

    def __init__(self, settings: BeamSettings, limits: Sequence[int], capacity: int, generation: Generation) -> None:
        """Starts with one possible beam a sentence.

        Args:
            settings: what the caller chose.
            limits: most tokens of each sentence's hypotheses, a forced EOS not counted.
            capacity: steps that ``ancestors`` has room for.
            generation: the model's token ids, and whether it forces an EOS.
        """
        self._settings, self._generation = settings, generation
        shape = (len(limits), settings.beams)
        self.ids = np.full(shape, generation.start_token_id, np.int64)
        self.scores = np.full(shape, IMPOSSIBLE, np.float32)
        self.scores[:, 0] = 0
        self.ancestors = np.zeros((*shape, capacity), np.int32)
        self._tokens = np.zeros((*shape, capacity), np.int64)  # by place, as `ancestors` finds them
        self.done = np.zeros(len(limits), bool)
        self.position = 0
        self._limits = np.array(limits)
        self._shortest = min(limits)
        self._finished: list[list[ScoredIds]] = [[] for _ in limits]
        self._full = np.zeros(len(limits), bool)  # sentences with as many finished hypotheses as beams
        self._first_rows = np.arange(len(limits))[:, None] * settings.beams

    def advance(self, candidates: Candidates) -> NDArray[np.int64]:
        """Takes a step's candidates, at least one a beam.

        Returns:
            The row, among ``batch * beams``, that each beam continues, int64 ``[batch * beams]``.
        """
        beams, length = self._settings.beams, self.position + 1
        ended = candidates.ids == self._generation.eos_token_id
        ended_best = ended[:, :beams]
        best = Candidates(candidates.scores[:, :beams], candidates.ids[:, :beams], candidates.beams[:, :beams])
        if ended_best.any():
            self._finish(ended_best, best, length)
            # The others move up. An ended one is left only where a vocabulary has too few ids.
            order = np.argsort(ended, axis=1, kind="stable")[:, :beams]
            best = candidates.ranked(order)
            best.scores[np.take_along_axis(ended, order, 1)] = IMPOSSIBLE
        rows: NDArray[np.int64] = (best.beams + self._first_rows).ravel()
        self._follow(rows, best)
        # At its limit a hypothesis of the best candidates ends as it is, or one step later with a forced EOS.
        is_limit, forces_eos = length >= self._shortest, self._generation.forces_eos
        if is_limit and not forces_eos:
            self._end_at_limit(length, length, beams - ended_best.sum(axis=1))
        if self._full.any():
            self._stop_early(length)
        if is_limit and forces_eos:
            self._end_at_limit(length, length + 1, np.full(len(ended), beams))
        return rows

    def targets(self) -> NDArray[np.int64]:
        """The ids of each beam so far, the start token first: int64 ``[batch, beams, position + 1]``."""
        places = self.ancestors[:, :, : self.position]
        earlier = np.take_along_axis(self._tokens[:, :, : self.position], places.astype(np.int64), 1)
        return np.concatenate([earlier, self.ids[:, :, None]], axis=2)

    def hypotheses(self, sentence: int) -> list[ScoredIds]:
        """The finished hypotheses of a sentence, best first, at most as many as beams."""
        return self._finished[sentence]

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Keeps only these sentences of the batch."""
        for name in ("ids", "scores", "ancestors", "_tokens", "done", "_limits", "_full"):
            setattr(self, name, getattr(self, name)[sentences])
        self._finished = [self._finished[i] for i in sentences]
        self._first_rows = self._first_rows[: len(sentences)]

    def lengthen(self, capacity: int) -> None:
        """Makes room for more steps."""
        more = ((0, 0), (0, 0), (0, capacity - self.ancestors.shape[2]))
        self.ancestors, self._tokens = np.pad(self.ancestors, more), np.pad(self._tokens, more)

    def _follow(self, rows: NDArray[np.int64], best: Candidates) -> None:
        """Puts each beam's continuation in its place; a token stays where its key and value are."""
        self._tokens[:, :, self.position] = self.ids
        by_row = self.ancestors.reshape(len(rows), -1)
        by_row[:] = by_row[rows]
        self.ancestors[:, :, self.position] = best.beams
        self.ids[:], self.scores[:] = best.ids, best.scores
        self.position += 1

    def _finish(self, ended: NDArray[np.bool_], candidates: Candidates, length: int) -> None:
        """Keeps the hypotheses that end with this step, ``ended`` bool ``[batch, beams]`` of the best candidates."""
        for sentence, rank in zip(*np.nonzero(ended & ~self.done[:, None]), strict=True):
            beam, score = candidates.beams[sentence, rank], candidates.scores[sentence, rank]
            self._keep_hypothesis(sentence, beam, score, length)

    def _end_at_limit(self, length: int, scored_length: int, counts: NDArray[np.int64]) -> None:
        """Ends sentences at their limit with their first ``counts`` beams."""
        for sentence in np.flatnonzero((self._limits == length) & ~self.done).tolist():
            for beam in range(counts[sentence]):
                self._keep_hypothesis(sentence, beam, self.scores[sentence, beam], scored_length)
            self.done[sentence] = True

    def _keep_hypothesis(self, sentence: int, beam: int, summed: np.float32, length: int) -> None:
        if summed < POSSIBLE:
            return
        places = self.ancestors[sentence, beam, 1 : self.position]
        earlier = self._tokens[sentence, places, np.arange(1, self.position)].tolist()
        ids = [*earlier, int(self.ids[sentence, beam])] if self.position else []
        finished = self._finished[sentence]
        finished.append(ScoredIds(ids, float(summed) / length**self._settings.length_penalty))
        finished.sort(key=lambda hypothesis: -hypothesis.score)
        del finished[self._settings.beams :]
        self._full[sentence] = len(finished) == self._settings.beams

    def _stop_early(self, length: int) -> None:
        """Marks sentences whose finished hypotheses no beam can better, as `BeamSettings.early_stopping` says."""
        settings = self._settings
        for sentence in np.flatnonzero(self._full & ~self.done).tolist():
            best_length = length
            if settings.early_stopping == "never" and settings.length_penalty > 0:
                best_length = int(self._limits[sentence]) + self._generation.forces_eos
            best = float(self.scores[sentence, 0]) / best_length**settings.length_penalty
            self.done[sentence] = settings.early_stopping is True or best <= self._finished[sentence][-1].score
