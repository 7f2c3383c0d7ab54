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

from edgekit.bundle.manifest import Manifest, StateTensor
from edgekit.runtime.batching import pad
from edgekit.runtime.shortlist import Shortlist

# Dropping rows copies the state of the others; it pays once this share of the batch has ended.
DROP_SHARE = 0.25
# A short source may need more than its share: "USA" is one word and five in some languages.
SHORTEST_LIMIT = 16


class GreedySearch:
    """Runs batches of source ids through an encoder and a decoder session; holds no state between calls."""

    def __init__(
        self,
        manifest: Manifest,
        encoder: ort.InferenceSession,
        decoder: ort.InferenceSession,
        shortlist: Shortlist | None,
    ) -> None:
        """Takes two loaded sessions; any number of threads may call `search` at once."""
        self._generation = manifest.generation
        self._encoder, self._decoder, self._shortlist = encoder, decoder, shortlist
        self._encoder_outputs = [port.name for port in manifest.graphs["encoder"].outputs]
        self._constants = [state for state in manifest.state if state.kind == "constant"]
        self._carried = [state for state in manifest.state if state.kind != "constant"]

    def length_limit(self, source_length: int, max_length: int | None) -> int:
        """Most tokens that ``source_length`` ids may become; ``max_length`` overrides the relative limit."""
        longest = self._generation.max_length
        if max_length is not None:
            return min(max_length, longest)
        return min(longest, max(SHORTEST_LIMIT, int(self._generation.max_length_factor * source_length)))

    def search(self, rows: Sequence[Sequence[int]], max_length: int | None = None) -> list[list[int]]:
        """Translates one batch.

        Args:
            rows: source ids, EOS included, none empty.
            max_length: most target tokens; None for a limit relative to each row's length.

        Returns:
            Target ids of each row, without EOS.
        """
        batch = _Batch(self, rows)
        limits = np.array([self.length_limit(len(row), max_length) for row in rows])
        outputs = np.zeros((len(rows), int(limits.max())), np.int64)
        lengths = np.zeros(len(rows), np.int64)
        alive = np.arange(len(rows))  # rows of `rows` that the batch still holds
        ended = np.zeros(len(rows), bool)
        for position in range(int(limits.max())):
            ids = batch.step(position)
            continues = ~ended[alive] & (ids != self._generation.eos_token_id)
            outputs[alive, position] = ids
            lengths[alive] += continues
            ended[alive] = ~continues | (lengths[alive] >= limits[alive])
            keep = ~ended[alive]
            if not keep.any():
                break
            if (len(keep) - keep.sum()) >= DROP_SHARE * len(keep):
                batch.keep(np.flatnonzero(keep))
                alive = alive[keep]
        return [row[:length].tolist() for row, length in zip(outputs, lengths, strict=True)]


class _Batch:
    """The tensors of one batch between steps."""

    def __init__(self, search: GreedySearch, rows: Sequence[Sequence[int]]) -> None:
        self._search = search
        generation = search._generation
        pad_id = generation.eos_token_id if generation.pad_token_id is None else generation.pad_token_id
        ids, mask = pad(rows, pad_id)
        feeds = {"input_ids": ids, "attention_mask": mask}
        self._shared: dict[str, NDArray[Any]] = {}
        if search._shortlist is not None:
            shortlist, bias = search._shortlist.for_batch(rows)
            feeds |= {"shortlist": shortlist, "shortlist_bias": bias}
            self._shared["shortlist"] = shortlist
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        encoded = search._encoder.run_with_ort_values(search._encoder_outputs, values)
        outputs = dict(zip(search._encoder_outputs, encoded, strict=True))
        self._constants = {state.past: outputs[state.past] for state in search._constants}
        initial = {state.past: initial_value(state, len(rows)) for state in search._carried}
        self._carried = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in initial.items()}
        self._arrays: dict[str, NDArray[Any]] = {
            "input_ids": np.full(len(rows), generation.start_token_id, np.int64),
            "positions": np.zeros(len(rows), np.int64),
            "attention_mask": mask,
        }
        self._bind()

    def _bind(self) -> None:
        """Binds what stays in place from step to step, until rows are dropped.

        onnxruntime reads an array's memory where it is, so every bound array is kept alive here.
        """
        self._binding = self._search._decoder.io_binding()
        for name, value in self._constants.items():
            self._binding.bind_ortvalue_input(name, value)
        self._bound = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in (self._arrays | self._shared).items()}
        for name, value in self._bound.items():
            self._binding.bind_ortvalue_input(name, value)

    def step(self, position: int) -> NDArray[np.int64]:
        """Runs the decoder once: the ids that follow, ``int64 [rows]``."""
        binding = self._binding
        self._arrays["positions"][:] = position
        for name, value in self._carried.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("next_ids")
        for state in self._search._carried:
            binding.bind_output(state.present)
        self._search._decoder.run_with_iobinding(binding)
        next_ids, *presents = binding.get_outputs()
        self._carried = {state.past: present for state, present in zip(self._search._carried, presents, strict=True)}
        self._arrays["input_ids"][:] = next_ids.numpy()
        return self._arrays["input_ids"]

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keeps only these rows of the batch."""
        axes = {state.past: state.batch_axis for state in self._search._constants + self._search._carried}
        for tensors in (self._constants, self._carried):
            for name, value in tensors.items():
                if (axis := axes[name]) is not None:
                    tensors[name] = ort.OrtValue.ortvalue_from_numpy(np.take(value.numpy(), rows, axis))
        self._arrays = {name: array[rows] for name, array in self._arrays.items()}
        self._bind()


def initial_value(state: StateTensor, batch: int) -> NDArray[np.float32]:
    """Zeros of the state's fixed size, or nothing yet along its growth axis."""
    shape = [
        batch if axis == state.batch_axis else 0 if axis == state.growth_axis else int(size)
        for axis, size in enumerate(state.shape)
    ]
    return np.zeros(shape, np.float32)
