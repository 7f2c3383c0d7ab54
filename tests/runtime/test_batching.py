"""Which sentences run together, and how they are padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.runtime.batching import batch_by_tokens, pad


def test_longest_first_and_as_many_as_fit():
    assert batch_by_tokens([5, 9, 5], 10) == [[1], [0, 2]]


def test_each_row_of_a_batch_counts_as_long_as_its_longest():
    # 6 + 5 + 4 tokens, but 3 rows of 6: 18.
    assert batch_by_tokens([4, 6, 5], 15) == [[1, 2], [0]]
    assert batch_by_tokens([4, 6, 5], 18) == [[1, 2, 0]]


def test_sentences_of_one_length_keep_their_order():
    assert batch_by_tokens([3, 3, 3, 3], 6) == [[0, 1], [2, 3]]


def test_a_sentence_longer_than_a_batch_is_one_of_its_own():
    assert batch_by_tokens([1, 100, 1], 10) == [[1], [0, 2]]


def test_nothing_gives_no_batch():
    assert batch_by_tokens([], 10) == []


@given(st.lists(st.integers(1, 200), max_size=60), st.integers(1, 2000))
def test_each_sentence_is_in_one_batch_that_is_not_too_large(lengths, batch_tokens):
    batches = batch_by_tokens(lengths, batch_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens
        assert lengths[batch[0]] == longest


@pytest.mark.parametrize("number", [0, -5, 2.0, "10", None, False])
def test_batch_tokens_that_are_none_are_refused(number):
    with pytest.raises(InputError, match=f"batch_tokens must be a whole number from 1, found {number!r}"):
        batch_by_tokens([1], number)


def test_rows_are_filled_up_to_a_whole_four():
    ids, mask = pad([[5, 6, 7, 8, 0], [9, 0]], 99)
    assert ids.dtype == np.int64
    assert mask.dtype == np.int32
    assert ids.tolist() == [[5, 6, 7, 8, 0, 99, 99, 99], [9, 0, 99, 99, 99, 99, 99, 99]]
    assert mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]


def test_a_whole_four_is_not_filled_up():
    ids, mask = pad([[1, 2, 3, 0]], 9)
    assert ids.tolist() == [[1, 2, 3, 0]]
    assert mask.all()


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), min_size=1, max_size=12))
def test_padding_loses_no_id(rows):
    ids, mask = pad(rows, -1)
    assert ids.shape[1] % 4 == 0
    assert ids.shape[1] < max(map(len, rows)) + 4
    assert [row[keep == 1].tolist() for row, keep in zip(ids, mask, strict=True)] == rows
    assert (ids[mask == 0] == -1).all()
