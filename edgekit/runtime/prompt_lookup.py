"""Prompt lookup: what followed the last words before is taken as a draft, and one run of the graph says how much holds.

A text that repeats its prompt (a summary, a correction, code) or itself gets several tokens for little more than the
time of one, and no draft changes it: a drafted token counts only where the model chooses it too (Saxena 2023,
github.com/apoorvumang/prompt-lookup-decoding; the speculative decoding of Leviathan et al. 2023, arXiv:2211.17192,
with greedy choices and a draft that costs nothing).

In: the ids so far. Out: ids that may follow. Whether several ids in one run give the very logits that one by one give
depends on onnxruntime's kernels for this CPU and model: `runs_agree` finds out, once. One by one they run as among
several (``as_several``) all through the text, whether or not drafts are found. Without lookup, in a batch for one, a
text is rounded otherwise, and may take another of two tokens that are nearly as likely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.manifest import StateTensor
from edgekit.runtime.forward_pass import ForwardPass
from edgekit.runtime.state_buffers import StateBuffers

# Of 128 tokens of SmolLM2-135M's answers, drafts of 4 after 3 or else 2 equal tokens saved the most time: a tenth of it
# in ordinary answers, a third where the answer repeats a given text.
LENGTHS = (3, 2)
MOST_DRAFTED = 4
# A draft of which less than half a token holds costs more time than it saves. After bad luck it is tried again later.
LEAST_ACCEPTED, SMOOTHING, RECOVERY = 0.5, 0.2, 0.02


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
        """Up to ``most`` ids that may follow; none where nothing is alike, or drafts have not held lately."""
        self._accepted += RECOVERY
        if self._accepted < LEAST_ACCEPTED:
            return []
        for length in LENGTHS:
            place = self._following.get(tuple(self._ids[-length:]))
            if place is not None and len(self._ids) >= length:
                # What repeats itself goes on doing so.
                period = len(self._ids) - place
                return [self._ids[place + index % period] for index in range(min(most, MOST_DRAFTED))]
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
    """Whether ``ids`` have the same logits, bit for bit, in one run and one by one behind ``past`` tokens of slot 0."""
    found: list[NDArray[np.float32]] = []
    for size in (len(ids), 1):
        logits = np.empty((len(ids), vocabulary), np.float32)
        for start in range(0, len(ids), size):
            rows = np.arange(size)
            output = ("logits", logits[start : start + size])
            forward = ForwardPass(session, states, buffers, range(1), size, rows, output, as_several=True)
            forward.input_ids[0] = ids[start : start + size]
            forward.past_lengths[0] = past + start
            forward.run()
        found.append(logits)
    return np.array_equal(found[0], found[1])
