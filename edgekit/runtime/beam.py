"""Beam search over a bundle's encoder and beam decoder, in batches: ``beams`` rows a sentence.

A step's candidates come out of the graph (`edgekit.graph.beam_decoder`), `beam_scores` decides, and the state stays
where it is: caches are found through ``ancestors``, recurrent vectors are copied to the beams that follow. Sentences
that have their hypotheses leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.generation import Generation
from edgekit.bundle.manifest import Manifest
from edgekit.errors import InputError
from edgekit.runtime.beam_scores import IMPOSSIBLE, Beams, BeamSettings, Candidates, ScoredIds
from edgekit.runtime.encoding import Encoder, length_limit
from edgekit.runtime.greedy import CAPACITY_STEP, DROP_SHARE, initial_value
from edgekit.runtime.ports import check_beam_ports
from edgekit.runtime.search_rules import forbidden
from edgekit.runtime.session import run_graph

# An ended hypothesis makes room for another: with twice as many continuations as beams, all beams can go on.
CANDIDATES_PER_BEAM = 2


class BeamSearch:
    """Runs batches of source ids through an encoder and a beam decoder; holds no state between calls."""

    def __init__(self, manifest: Manifest, encoder: Encoder, decoder: ort.InferenceSession) -> None:
        """Takes what is loaded; any number of threads may call `search` at once.

        Raises:
            BundleError: the graph doesn't have the inputs and outputs that the manifest says.
        """
        check_beam_ports(manifest, decoder)
        assert isinstance(manifest.generation, Generation)
        self.generation = manifest.generation
        self.encoder, self.decoder = encoder, decoder
        self.vocab_size = manifest.tokenizer.target_vocab_size
        self.constants = [state for state in manifest.state if state.kind == "constant"]
        self.carried = [state for state in manifest.state if state.kind != "constant"]

    def search(
        self,
        rows: Sequence[Sequence[int]],
        settings: BeamSettings,
        max_length: int | None = None,
        start_ids: Sequence[int] | None = None,
    ) -> list[list[ScoredIds]]:
        """Translates one batch.

        Args:
            rows: source ids, EOS included, none empty.
            settings: beams and how they are scored.
            max_length: most target tokens; None for a limit relative to each row's length.
            start_ids: the decoder's start token and the target tokens that follow whatever it says; None for the
                manifest's. The latter count for a hypothesis's length, but not for its score, and are left out.

        Returns:
            Hypotheses of each row, best first: as many as beams, fewer only where fewer are possible; where all are
            forbidden, an empty one.

        Raises:
            InputError: there are more beams than ids to choose from.
        """
        limits = [length_limit(self.generation, len(row), max_length) for row in rows]
        start_ids = self.generation.start_ids if start_ids is None else tuple(start_ids)
        batch = _Batch(self, rows, settings, limits, start_ids)
        beams = batch.beams
        results: list[list[ScoredIds]] = [[] for _ in rows]
        alive = np.arange(len(rows))  # rows of `rows` that the batch still holds
        while True:
            batch.step()
            left = np.flatnonzero(~beams.done)
            if not left.size or left.size <= (1 - DROP_SHARE) * len(alive):
                for place in np.flatnonzero(beams.done).tolist():
                    found = beams.hypotheses(place) or [ScoredIds([], float(IMPOSSIBLE))]
                    results[alive[place]] = [ScoredIds(one.ids[len(start_ids) - 1 :], one.score) for one in found]
                if not left.size:
                    return results
                batch.keep(left)
                alive = alive[left]


class _Batch:
    """The tensors of one batch between steps, in place: a step allocates and binds nothing.

    onnxruntime reads and writes a bound array's memory where it is, so each one is kept alive here.
    """

    def __init__(
        self,
        search: BeamSearch,
        rows: Sequence[Sequence[int]],
        settings: BeamSettings,
        limits: Sequence[int],
        start_ids: Sequence[int],
    ) -> None:
        self._search, self._settings, self._longest = search, settings, max(limits)
        encoded = search.encoder.encode(rows)
        self._constants = {state.past: encoded.constants[state.past] for state in search.constants}
        self._shared, self._mask = encoded.shared, encoded.mask
        choices = len(self._shared["shortlist"]) if self._shared else search.vocab_size
        if settings.beams > choices:
            raise InputError(f"beams must be at most the {choices} target tokens there are, found {settings.beams}")
        self._choices, self._kept = choices, min(CANDIDATES_PER_BEAM * settings.beams, choices)
        self._candidates = self._kept
        # Most translations are about as long as their source; a longer one makes its cache longer.
        self._capacity = min(self._longest, self._mask.shape[1] + CAPACITY_STEP)
        self.beams = Beams(settings, limits, self._capacity, search.generation)
        self.beams.ids[:], self._forced = start_ids[0], start_ids[1:]
        height = len(rows) * settings.beams
        self._past = {state.past: initial_value(state, height, self._capacity) for state in search.carried}
        self._position = np.zeros(1, np.int64)
        self._bind()

    def step(self) -> None:
        """Runs the decoder once and lets the best continuations, or those that are forced, take the beams' places."""
        if self.beams.position == self._capacity:
            self._lengthen()
        self._position[0] = self.beams.position
        struck = forbidden(self._search.generation, self.beams.targets()) if self._search.generation.has_rules else None
        if struck is not None:
            self._make_room(struck.most)
        run_graph(self._search.decoder.run_with_iobinding, self._binding)
        found = self._found if struck is None else struck.strike(self._found, self._kept)
        if self.beams.position < len(self._forced):
            # transformers' ForcedBOSTokenLogitsProcessor: it is certain, and nothing else is possible.
            found.ids[:], found.beams[:] = self._forced[self.beams.position], 0
            found.scores[:] = IMPOSSIBLE
            found.scores[:, 0] = 0
        rows = self.beams.advance(found)
        for past, present in self._replaced:
            np.take(present, rows, axis=0, out=past)

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Keeps only these sentences of the batch."""
        rows = (sentences[:, None] * self._settings.beams + np.arange(self._settings.beams)).ravel()
        for state in self._search.constants:
            if state.batch_axis is not None:
                kept = np.take(self._constants[state.past].numpy(), sentences, state.batch_axis)
                self._constants[state.past] = ort.OrtValue.ortvalue_from_numpy(kept)
        for state in self._search.carried:
            self._past[state.past] = np.take(self._past[state.past], rows, state.batch_axis)
        self._mask = self._mask[sentences]
        self.beams.keep(sentences)
        self._bind()

    def _bind(self) -> None:
        arrays: dict[str, NDArray[Any]] = {
            "input_ids": self.beams.ids,
            "scores": self.beams.scores,
            "position": self._position,
            "candidates": np.array([self._candidates]),
            "attention_mask": self._mask,
            **self._shared,
            **self._past,
        }
        if any(state.kind == "appended" for state in self._search.carried):
            arrays["ancestors"] = self.beams.ancestors
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        binding = self._search.decoder.io_binding()
        for name, value in (self._constants | values).items():
            binding.bind_ortvalue_input(name, value)
        written = self._bound_outputs(values)
        for name, value in written.items():
            binding.bind_ortvalue_output(name, value)
        self._binding, self._bound = binding, (values, written)

    def _bound_outputs(self, inputs: dict[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        """Where each output goes: candidates and recurrent state into arrays, a cache into itself."""
        shape = (len(self._mask), self._candidates)
        self._found = Candidates(np.empty(shape, np.float32), np.empty(shape, np.int64), np.empty(shape, np.int64))
        arrays: dict[str, NDArray[Any]] = {f"candidate_{k}": array for k, array in self._found._asdict().items()}
        self._replaced, written = [], {}
        for state in self._search.carried:
            assert state.present is not None
            if state.kind == "appended":
                written[state.present] = inputs[state.past]
            else:
                arrays[state.present] = np.empty_like(self._past[state.past])
                self._replaced.append((self._past[state.past], arrays[state.present]))
        return written | {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}

    def _make_room(self, forbidden: int) -> None:
        """Asks for more candidates from here on where so many forbidden ones might leave too few."""
        if self._kept + forbidden > self._candidates < self._choices:
            self._candidates = min(2 * (self._kept + forbidden), self._choices)
            self._bind()

    def _lengthen(self) -> None:
        """Doubles the length of the caches, up to the most steps that can follow."""
        more = min(self._capacity, self._longest - self._capacity)
        for state in self._search.carried:
            if state.kind == "appended":
                width = [(0, more if axis == state.growth_axis else 0) for axis in range(len(state.shape))]
                self._past[state.past] = np.pad(self._past[state.past], width)
        self._capacity += more
        self.beams.lengthen(self._capacity)
        self._bind()
