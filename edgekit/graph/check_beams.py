"""Whether beam search's decoder scores as greedy search's decoder does, when it is forced along the same ids.

Two sentences of two beams, one of which follows the given ids and one others; they change places at every step, so that
a decoder that finds another beam's past is found out.

In: the bundle's directory, what the encoder made of the source twice, ids and their logits. Out: one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import StateTensor
from edgekit.graph.beam_decoder import SUPPRESSED
from edgekit.graph.seq2seq import BEAM_DECODER_FILE
from edgekit.runtime.greedy import initial_value
from edgekit.runtime.session import create_session

CANDIDATES = 8
# The same beam one step later: the two of a sentence change places.
SWAPPED = np.array([1, 0, 3, 2])


def beam_difference(
    directory: Path,
    state: Sequence[StateTensor],
    vocab_size: int,
    shared: Mapping[str, np.ndarray],
    target: np.ndarray,
    logits: np.ndarray,
    *,
    normalised: bool,
) -> float:
    """Root mean square difference of scores and log-probabilities as a share of the logits' spread.

    Args:
        directory: holds the graph.
        state: the manifest's.
        vocab_size: how many target ids there are.
        shared: mask, constants and shortlist of two equal sentences.
        target: decoder ids, int64 ``[target_length]``.
        logits: float32 ``[target_length, target_vocab_size]`` after each of them.
        normalised: the probabilities are these logits' alone; False where suppressed ids have a share that greedy
            search's logits don't know: then scores may be off by a constant.

    Returns:
        The difference; infinity where the best continuations are another beam's.
    """
    decoder = create_session(directory / BEAM_DECODER_FILE)
    names = [output.name for output in decoder.get_outputs()]
    states = [one for one in state if one.kind != "constant"]
    carried: dict[str, np.ndarray] = {one.past: initial_value(one, len(SWAPPED), len(target)) for one in states}
    ancestors = np.zeros((2, 2, len(target)), np.int32)
    if any(one.kind == "appended" for one in states):
        carried["ancestors"] = ancestors
    differences = []
    for position, token in enumerate(target):
        place = np.array([[position % 2], [1 - position % 2]])  # of the beam that is followed, in each sentence
        followed = np.arange(2) == place
        step = {
            "input_ids": np.where(followed, token, (token + 1) % vocab_size),
            "scores": np.where(followed, 0, SUPPRESSED).astype(np.float32),
            "position": np.array([position]),
            "candidates": np.array([min(CANDIDATES, vocab_size)]),
        }
        outputs = dict(zip(names, decoder.run(None, {**step, **shared, **carried}), strict=True))
        if not np.array_equal(outputs["candidate_beams"], np.broadcast_to(place, outputs["candidate_beams"].shape)):
            return float("inf")
        expected = logits[position] - np.logaddexp.reduce(logits[position])
        difference = outputs["candidate_scores"] - expected[outputs["candidate_ids"]]
        if not normalised:
            difference -= difference.mean(axis=1, keepdims=True)
        differences.append(difference)
        for one in states:
            present = outputs[str(one.present)]
            carried[one.past] = present if one.kind == "appended" else present[SWAPPED]
        ancestors[:] = ancestors[:, ::-1]
        ancestors[:, :, position] = [1, 0]
    spread = float(logits[logits > SUPPRESSED].std())
    return float(np.sqrt(np.mean(np.square(differences), dtype=np.float64))) / max(spread, 1e-9)
