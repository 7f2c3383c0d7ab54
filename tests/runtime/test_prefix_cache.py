"""The longest common beginning is found; memory stays bounded; the least recently used go first."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgekit.runtime.prefix_cache import ID_BYTES, PrefixCache, common_length

PER_TOKEN = 16


def entries(ids):
    """What says which ids it belongs to: 16 bytes a token."""
    return (np.repeat(np.array(ids, np.float32)[None, :, None], 4, axis=2),)


def cache(tokens):
    return PrefixCache(tokens * (PER_TOKEN + ID_BYTES))


def add(prefixes, *ids):
    prefixes.add(ids, entries(ids))


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([2, 1], [1, 1], 0), ([7], [7], 1)],
)
def test_common_length(one, other, length):
    arrays = [np.array(ids, np.int64) for ids in (one, other)]
    assert common_length(*arrays) == common_length(*arrays[::-1]) == length


def test_the_longest_common_beginning_is_found():
    prefixes = cache(100)
    assert prefixes.longest([1, 2, 3]) == (0, ())
    add(prefixes, 1, 2, 9)
    add(prefixes, 1, 2, 3, 4)
    add(prefixes, 5, 6)
    length, (found,) = prefixes.longest([1, 2, 3, 7])
    assert length == 3
    assert found[0, :length, 0].tolist() == [1, 2, 3]
    assert prefixes.longest([5, 6, 7])[0] == 2
    assert prefixes.longest([1, 2, 3, 4])[0] == 4
    assert prefixes.longest([8]) == (0, ())


def test_what_another_begins_with_is_held_once():
    prefixes = cache(100)
    add(prefixes, 1, 2)
    add(prefixes, 1, 2, 3)
    assert prefixes.size_bytes == 3 * (PER_TOKEN + ID_BYTES)
    add(prefixes, 1, 2)
    assert prefixes.size_bytes == 3 * (PER_TOKEN + ID_BYTES)
    assert prefixes.longest([1, 2, 3])[0] == 3


def test_the_least_recently_used_go_first():
    prefixes = cache(6)
    add(prefixes, 1, 1)
    add(prefixes, 2, 2)
    add(prefixes, 3, 3)
    prefixes.longest([1, 1])
    add(prefixes, 4, 4)
    assert [prefixes.longest([i, i])[0] for i in (1, 2, 3, 4)] == [2, 0, 2, 2]
    assert prefixes.size_bytes == prefixes.limit_bytes


def test_what_is_too_large_is_not_held():
    prefixes = cache(3)
    assert prefixes.most_tokens(PER_TOKEN) == 3
    add(prefixes, 1, 2)
    add(prefixes, 5, 6, 7, 8)
    assert prefixes.longest([5]) == (0, ())
    assert prefixes.longest([1, 2])[0] == 2


def test_nothing_is_held_without_room():
    prefixes = cache(0)
    add(prefixes, 1)
    assert prefixes.longest([1]) == (0, ())
    assert prefixes.most_tokens(PER_TOKEN) == prefixes.size_bytes == 0


def test_clearing_forgets_everything():
    prefixes = cache(10)
    add(prefixes, 1, 2)
    prefixes.clear()
    assert prefixes.longest([1, 2]) == (0, ())
    assert prefixes.size_bytes == 0


def test_threads_find_only_what_belongs_to_their_ids():
    prefixes = cache(50)
    barrier = threading.Barrier(6)

    def one(number):
        random = np.random.default_rng(number)
        barrier.wait()
        for _ in range(300):
            ids = random.integers(0, 3, random.integers(1, 12)).tolist()
            length, found = prefixes.longest(ids)
            if length:
                assert found[0][0, :length, 0].tolist() == ids[:length]
            add(prefixes, *ids)
            assert prefixes.size_bytes <= prefixes.limit_bytes

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
