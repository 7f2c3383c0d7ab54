"""Slots of a buffer: contiguous, moved, grown and copied without touching their neighbours."""

import numpy as np
import pytest

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import InputError
from edgekit.runtime.state_buffers import StateBuffers, bytes_per_token


def state(name, shape=("batch", 2, "capacity", 3), growth_axis=2):
    return StateTensor(
        name, f"past_{name}", f"present_{name}", "float32", shape, "appended", 0, growth_axis, 64, "empty"
    )


STATES = (state("key"), state("value", ("batch", "capacity", 5), 1))


def filled(slots=3, capacity=4):
    """Every number another."""
    buffers = StateBuffers(STATES, slots, capacity)
    for offset, array in enumerate(buffers.bound(range(slots))):
        array[:] = np.arange(array.size).reshape(array.shape) + 1000 * offset
    return buffers


def copies(buffers, slots=range(3)):
    return [array.copy() for array in buffers.bound(slots)]


def test_shapes_are_the_manifests():
    key, value = StateBuffers(STATES, 3, 4).bound(range(3))
    assert (key.shape, value.shape) == ((3, 2, 4, 3), (3, 4, 5))
    assert key.dtype == value.dtype == np.float32


def test_bytes_per_token_counts_all_states():
    assert bytes_per_token(STATES) == 4 * (2 * 3 + 5)


@pytest.mark.parametrize("slots", [range(1), range(1, 2), range(1, 3), range(3)])
def test_slots_are_bound_where_they_are(slots):
    buffers = filled()
    for part, whole in zip(buffers.bound(slots), buffers.bound(range(3)), strict=True):
        assert part.flags.c_contiguous
        assert np.shares_memory(part, whole)
        assert np.array_equal(part, whole[slots.start : slots.stop])


def test_growing_keeps_what_is_used():
    buffers = filled()
    before = copies(buffers)
    buffers.grow(9, 3)
    key, value = buffers.bound(range(3))
    assert (key.shape, value.shape, buffers.capacity) == ((3, 2, 9, 3), (3, 9, 5), 9)
    assert np.array_equal(key[:, :, :3], before[0][:, :, :3])
    assert np.array_equal(value[:, :3], before[1][:, :3])


def test_moving_copies_one_slot_into_another():
    buffers = filled()
    before = copies(buffers)
    buffers.move(2, 0, 3)
    key, value = buffers.bound(range(3))
    assert np.array_equal(key[0, :, :3], before[0][2, :, :3])
    assert np.array_equal(key[0, :, 3], before[0][0, :, 3])
    assert np.array_equal(key[1:], before[0][1:])
    assert np.array_equal(value[0, :3], before[1][2, :3])
    assert np.array_equal(value[1:], before[1][1:])


def test_what_was_read_can_be_written_into_another_slot():
    buffers = filled()
    before = copies(buffers)
    entries = buffers.read(1, 3)
    assert [entry.shape for entry in entries] == [(2, 3, 3), (3, 5)]
    assert not any(
        np.shares_memory(entry, array) for entry, array in zip(entries, buffers.bound(range(3)), strict=True)
    )
    buffers.write(2, entries, 2)
    key, value = buffers.bound(range(3))
    assert np.array_equal(key[2, :, :2], before[0][1, :, :2])
    assert np.array_equal(key[2, :, 2:], before[0][2, :, 2:])
    assert np.array_equal(value[2, :2], before[1][1, :2])
    assert np.array_equal(value[2, 2:], before[1][2, 2:])


@pytest.mark.parametrize("capacity", [2**40, 2**60])
def test_more_than_there_is_memory_for_is_one_line(capacity):
    message = f"^no memory for 1000 texts of {capacity} tokens: ask for fewer tokens at once$"
    with pytest.raises(InputError, match=message):
        StateBuffers(STATES, 1000, capacity)
    buffers = filled()
    with pytest.raises(InputError, match=r"^no memory for 3 texts of"):
        buffers.grow(2**60, 3)
