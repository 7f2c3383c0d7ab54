"""Prompt lookup: what followed the last words before is taken as a draft, and one run of the graph says how much holds.

A text that repeats its prompt (a summary, a correction, code) or itself gets several tokens for little more than the
time of one, and no draft changes it: a drafted token counts only where the model chooses it too (Saxena 2023,
github.com/apoorvumang/prompt-lookup-decoding; the speculative decoding of Leviathan et al. 2023, arXiv:2211.17192,
with greedy choices and a draft that costs nothing).

In: the ids so far. Out: ids that may follow. Whether several ids in one run give the very logits that one by one give
depends on onnxruntime's kernels for this CPU and model: `runs_agree` finds out, once, for drafts of every length. One
by one they run as among several (``as_several``) all through the text, whether or not drafts are found. Without lookup,
in a batch for one, a text is rounded otherwise, and may take another of two tokens that are nearly as likely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.manifest import StateTensor
from edgekit.runtime.forward_pass import ForwardPass
from edgekit.runtime.state_buffers import StateBuffers

# On SmolLM2-135M, whose weights come from memory at each step, a second token takes a tenth of a step more and each
# further one a fifth. Drafts as long as what held lately then lose little and save most: at those costs 14 texts of 64
# to 100 tokens were 1.18 (answers) and 1.66 (prose gone on with) times as fast; with drafts of always 4, 1.14 and 1.59.
LENGTHS = (3, 2, 1)
MOST_DRAFTED = 4
SMOOTHING, DRAFTED_PER_ACCEPTED = 0.5, 1.75


class PromptLookup:
    """The drafts for one text."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Begins with the ids of the prompt."""
        self._ids: list[int] = []
        self._following: dict[tuple[int, ...], int] = {}  # where what came last after these ids stands
        self._accepted = 1.0  # tokens of a draft that held lately
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Takes note of ids that have been chosen."""
        for token_id in ids:
            for length in LENGTHS:
                if len(self._ids) >= length:
                    self._following[tuple(self._ids[-length:])] = len(self._ids)
            self._ids.append(token_id)

    def draft(self, most: int) -> list[int]:
        """Up to ``most`` ids that may follow, fewer where drafts have not held lately; none where nothing is alike."""
        most = min(most, MOST_DRAFTED, 1 + int(DRAFTED_PER_ACCEPTED * self._accepted))
        for length in LENGTHS:
            place = self._following.get(tuple(self._ids[-length:]))
            if place is not None and len(self._ids) >= length:
                # What repeats itself goes on doing so.
                period = len(self._ids) - place
                return [self._ids[place + index % period] for index in range(most)]
        return []

    def judge(self, accepted: int) -> None:
        """Takes note of how many tokens of a draft held."""
        self._accepted += SMOOTHING * (accepted - self._accepted)


def runs_agree(
    session: ort.InferenceSession,
    states: Sequence[StateTensor],
    buffers: StateBuffers,
    ids: Sequence[int],
    past: int,
    vocabulary: int,
) -> bool:
    """Whether ``ids`` have the same logits, bit for bit, one by one and several at once, behind ``past`` tokens.

    They run in slot 0: one by one, then its first two in one run, its first three and so on.
    """

    def run(start: int, size: int) -> NDArray[np.float32]:
        logits = np.empty((size, vocabulary), np.float32)
        output = ("logits", logits)
        forward = ForwardPass(session, states, buffers, range(1), size, np.arange(size), output, as_several=True)
        forward.input_ids[0] = ids[start : start + size]
        forward.past_lengths[0] = past + start
        forward.run()
        return logits

    singly = np.concatenate([run(start, 1) for start in range(len(ids))])
    return all(np.array_equal(run(0, size), singly[:size]) for size in range(2, len(ids) + 1))
