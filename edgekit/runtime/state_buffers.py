"""The appended state of a batch of texts, in place: a buffer a state tensor, a slot a text, room for its tokens.

onnxruntime reads and writes the buffers where they are, so a step copies nothing. A slot is contiguous, which is what
lets one text be prefilled among others; removing a text moves the last one into its slot.

In: the state tensors of a manifest. Out: arrays to bind. Names, sizes and axes are the manifest's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import InputError

Entries = tuple[NDArray[np.float32], ...]


class StateBuffers:
    """Buffers of ``slots`` texts with room for ``capacity`` tokens each.

    Attributes:
        slots: how many texts there is room for.
        capacity: tokens that each slot holds.
    """

    def __init__(self, states: Sequence[StateTensor], slots: int, capacity: int) -> None:
        """Makes the buffers.

        Args:
            states: appended ones, with the batch as their first axis; see `edgekit.runtime.ports`.
            slots: how many texts.
            capacity: tokens of each.

        Raises:
            InputError: there is no memory for so much.
        """
        self.slots, self.capacity = slots, capacity
        self._states = states
        self._arrays = [self._empty(state) for state in states]

    def bound(self, slots: range) -> list[NDArray[np.float32]]:
        """The memory of these slots, an array a state, in the manifest's order."""
        return [array[slots.start : slots.stop] for array in self._arrays]

    def grow(self, capacity: int, used: int) -> None:
        """Makes room for ``capacity`` tokens; the first ``used`` of each slot stay. One state at a time is copied.

        Raises:
            InputError: there is no memory for so much.
        """
        self.capacity = capacity
        for index, state in enumerate(self._states):
            array = self._empty(state)
            kept = _first(state, used)
            array[kept] = self._arrays[index][kept]
            self._arrays[index] = array

    def move(self, source: int, target: int, used: int) -> None:
        """Copies the first ``used`` tokens of a slot into another."""
        for state, array in zip(self._states, self._arrays, strict=True):
            kept = _first(state, used)[1:]
            array[target][kept] = array[source][kept]

    def read(self, slot: int, used: int) -> Entries:
        """Copies of the first ``used`` tokens of a slot."""
        return tuple(
            array[slot][_first(state, used)[1:]].copy() for state, array in zip(self._states, self._arrays, strict=True)
        )

    def write(self, slot: int, entries: Entries, used: int) -> None:
        """Puts the first ``used`` tokens of what `read` gave into a slot."""
        for state, array, entry in zip(self._states, self._arrays, entries, strict=True):
            kept = _first(state, used)[1:]
            array[slot][kept] = entry[kept]

    def _empty(self, state: StateTensor) -> NDArray[np.float32]:
        """Not zeroed: the graph reads no entry that it has not written, and untouched pages take no memory."""
        shape = [
            self.slots if axis == state.batch_axis else self.capacity if axis == state.growth_axis else int(size)
            for axis, size in enumerate(state.shape)
        ]
        try:
            return np.empty(shape, np.float32)
        except (MemoryError, ValueError):  # numpy has the latter where a size is beyond any address
            raise InputError(
                f"no memory for {self.slots} texts of {self.capacity} tokens: ask for fewer tokens at once"
            ) from None


def bytes_per_token(states: Sequence[StateTensor]) -> int:
    """How much one token of one text takes in all buffers."""
    sizes = [[int(size) for size in state.shape if not isinstance(size, str)] for state in states]
    return sum(4 * int(np.prod(size)) for size in sizes)


def _first(state: StateTensor, used: int) -> tuple[slice, ...]:
    """Indexes the first ``used`` tokens of a buffer, along all axes."""
    return tuple(slice(used) if axis == state.growth_axis else slice(None) for axis in range(len(state.shape)))
