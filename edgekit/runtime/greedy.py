"""Greedy search over a bundle's two graphs: the encoder once, then one decoder step a token.

Decoder state is whatever the manifest lists: constants from the encoder, recurrent vectors, growing caches. Tensors
stay in onnxruntime between steps; only the chosen ids come back. Rows that have met their end leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.manifest import Generation, Manifest, StateTensor
from edgekit.runtime.encoding import Encoder, length_limit
from edgekit.runtime.ports import check_ports
from edgekit.runtime.session import run_graph
from edgekit.runtime.shortlist import Shortlist

# Dropping rows copies the state of the others, so it waits until this share of the batch has ended.
DROP_SHARE = 0.25
# Entries that a cache has beyond its source's length, at first.
CAPACITY_STEP = 16


class GreedySearch:
    """Runs batches of source ids through an encoder and a decoder session; holds no state between calls."""

    def __init__(
        self,
        manifest: Manifest,
        encoder: ort.InferenceSession,
        decoder: ort.InferenceSession,
        shortlist: Shortlist | None,
    ) -> None:
        """Takes two loaded sessions; any number of threads may call `search` at once.

        Raises:
            BundleError: the graphs don't have the inputs and outputs that the manifest says.
        """
        check_ports(manifest, encoder, decoder)
        assert isinstance(manifest.generation, Generation), "a causal-lm bundle has no encoder to search with"
        self._generation = manifest.generation
        self.encoder, self._decoder = Encoder(manifest, encoder, shortlist), decoder
        self._constants = [state for state in manifest.state if state.kind == "constant"]
        self._carried = [state for state in manifest.state if state.kind != "constant"]

    def search(
        self, rows: Sequence[Sequence[int]], max_length: int | None = None, start_ids: Sequence[int] | None = None
    ) -> list[list[int]]:
        """Translates one batch.

        Args:
            rows: source ids, EOS included, none empty.
            max_length: most target tokens; None for a limit relative to each row's length.
            start_ids: the decoder's start token and the target tokens that follow whatever it says; None for the
                manifest's.

        Returns:
            Target ids of each row, without EOS and ``start_ids``.
        """
        eos = self._generation.eos_token_id
        start, *forced = self._generation.start_ids if start_ids is None else start_ids
        limits = np.array([length_limit(self._generation, len(row), max_length) for row in rows])
        batch = _Batch(self, rows, int(limits.max()), start)
        outputs: list[list[int]] = [[] for _ in rows]
        alive = np.arange(len(rows))  # rows of `rows` that the batch still holds
        running = np.ones(len(rows), bool)
        shortest = int(limits.min())
        steps: list[NDArray[np.int64]] = []  # ids chosen since rows last left the batch
        for length in range(1, int(limits.max()) + 1):
            steps.append(batch.step(length - 1))
            if length <= len(forced):
                batch.force(forced[length - 1])
                steps[-1][:] = forced[length - 1]
            # Most steps end no row. For a few numbers, a list is searched before numpy has begun.
            if length < shortest and eos not in steps[-1].tolist():
                continue
            running &= steps[-1] != eos
            running &= limits[alive] > length
            left = np.count_nonzero(running)
            if not left or left <= (1 - DROP_SHARE) * len(running):
                for row, ids in zip(alive.tolist(), np.stack(steps, axis=1).tolist(), strict=True):
                    outputs[row] += ids
                if not left:
                    break
                batch.keep(np.flatnonzero(running))
                alive, steps, running = alive[running], [], np.ones(left, bool)
        return [_cut(ids[len(forced) : limit], eos) for ids, limit in zip(outputs, limits.tolist(), strict=True)]


def _cut(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids


class _Batch:
    """The tensors of one batch between steps, in place: a step allocates and binds nothing.

    onnxruntime reads and writes a bound array's memory where it is, so each one is kept alive here.
    """

    def __init__(self, search: GreedySearch, rows: Sequence[Sequence[int]], longest: int, start: int) -> None:
        """Encodes ``rows``; ``longest`` is the most steps that will follow, ``start`` the first one's token."""
        self._search = search
        encoded = search.encoder.encode(rows)
        self._shared = encoded.shared
        self._constants = {state.past: encoded.constants[state.past] for state in search._constants}
        # Most translations are about as long as their source; a longer one makes its cache longer.
        self._longest, self._capacity = longest, min(longest, encoded.mask.shape[1] + CAPACITY_STEP)
        self._past = {state.past: initial_value(state, len(rows), self._capacity) for state in search._carried}
        self._inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.full(len(rows), start, np.int64),
            "positions": np.zeros(len(rows), np.int64),
            "attention_mask": encoded.mask,
        }
        self._bind()

    def _bind(self) -> None:
        binding = self._search._decoder.io_binding()
        arrays = self._inputs | self._shared | self._past
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        for name, value in (self._constants | values).items():
            binding.bind_ortvalue_input(name, value)
        self._next_ids = np.empty_like(self._inputs["input_ids"])
        written = {"next_ids": ort.OrtValue.ortvalue_from_numpy(self._next_ids)}
        self._replaced = []
        for state in self._search._carried:
            assert state.present is not None
            if state.kind == "appended":
                written[state.present] = values[state.past]
            else:
                present = np.empty_like(self._past[state.past])
                self._replaced.append((self._past[state.past], present))
                written[state.present] = ort.OrtValue.ortvalue_from_numpy(present)
        for name, value in written.items():
            binding.bind_ortvalue_output(name, value)
        self._binding, self._bound = binding, (values, written)

    def step(self, position: int) -> NDArray[np.int64]:
        """Runs the decoder once: the ids that follow, ``int64 [rows]``."""
        if position == self._capacity:
            self._lengthen()
        self._inputs["positions"][:] = position
        run_graph(self._search._decoder.run_with_iobinding, self._binding)
        for past, present in self._replaced:
            past[:] = present
        self._inputs["input_ids"][:] = self._next_ids
        return self._next_ids.copy()

    def force(self, token_id: int) -> None:
        """Goes on with this token, whatever the last step chose."""
        self._inputs["input_ids"][:] = token_id

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keeps only these rows of the batch."""
        for state in self._search._constants:
            if state.batch_axis is not None:
                kept = np.take(self._constants[state.past].numpy(), rows, state.batch_axis)
                self._constants[state.past] = ort.OrtValue.ortvalue_from_numpy(kept)
        for state in self._search._carried:
            self._past[state.past] = np.take(self._past[state.past], rows, state.batch_axis)
        self._inputs = {name: array[rows] for name, array in self._inputs.items()}
        self._bind()

    def _lengthen(self) -> None:
        """Doubles the length of the caches, up to the most steps that can follow."""
        more = min(self._capacity, self._longest - self._capacity)
        for state in self._search._carried:
            if state.kind == "appended":
                width = [(0, more if axis == state.growth_axis else 0) for axis in range(len(state.shape))]
                self._past[state.past] = np.pad(self._past[state.past], width)
        self._capacity += more
        self._bind()


def initial_value(state: StateTensor, batch: int, capacity: int) -> NDArray[np.float32]:
    """Zeros: of the state's fixed size, or with ``capacity`` entries along its growth axis."""
    shape = [
        batch if axis == state.batch_axis else capacity if axis == state.growth_axis else int(size)
        for axis, size in enumerate(state.shape)
    ]
    return np.zeros(shape, np.float32)
