"""Greedy search: a sentence's ids are its own, whatever else is in the batch; every sentence ends."""

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime import greedy, load

BUNDLES = ("embedded_int8", "embedded_fp32", "student_bundle", "student_fp32_bundle", "marian_bundle")


@pytest.fixture(scope="module", params=BUNDLES)
def translator(request):
    return load(request.getfixturevalue(request.param))


def sentences(translator, count, longest, seed=0):
    """Random source ids of 1 to ``longest`` tokens, EOS included."""
    random = np.random.default_rng(seed)
    generation = translator.manifest.generation
    top = translator.manifest.tokenizer.source_vocab_size - 1
    longest = min(longest, generation.max_source_tokens)
    lengths = [1, 2, 3, longest, *random.integers(1, longest + 1, count - 4)]
    return [[*random.integers(2, top, length - 1).tolist(), generation.eos_token_id] for length in lengths]


def test_ids_are_the_same_alone_and_in_batches_of_any_size_and_order(translator):
    rows = sentences(translator, 24, 120)
    alone = [translator.generate_ids([row], max_length=12)[0] for row in rows]
    random = np.random.default_rng(1)
    for batch_tokens in (1, 50, 200, 1024, 10**6):
        order = random.permutation(len(rows))
        found = translator.generate_ids([rows[i] for i in order], batch_tokens=batch_tokens, max_length=12)
        assert found == [alone[i] for i in order]
    # Outputs differ from sentence to sentence, or this would say nothing.
    assert len({tuple(ids) for ids in alone}) > 3


@pytest.mark.parametrize("share", [0.0001, 0.5, 2.0])
def test_dropping_finished_rows_changes_nothing(translator, share, monkeypatch):
    rows = sentences(translator, 16, 30, seed=2)
    usual = translator.generate_ids(rows)
    monkeypatch.setattr(greedy, "DROP_SHARE", share)
    assert translator.generate_ids(rows) == usual


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("bundle", ["endless_bundle", "embedded_int8"])
def test_caches_that_grow_change_nothing(bundle, step, request, monkeypatch):
    """Whether room is made while translating, or all at once before."""
    translator = load(request.getfixturevalue(bundle))
    rows = sentences(translator, 8, 12, seed=20)
    usual = translator.generate_ids(rows, max_length=50)
    monkeypatch.setattr(greedy, "CAPACITY_STEP", step)
    assert translator.generate_ids(rows, max_length=50) == usual
    assert max(map(len, usual)) == 50


def test_ended_rows_leave_the_batch(embedded_fp32, monkeypatch):
    """Three sentences of one token's translation and one of many: later steps run one row."""
    translator = load(embedded_fp32)
    sizes = []
    step = greedy._Batch.step
    monkeypatch.setattr(
        greedy._Batch, "step", lambda self, *rest: sizes.append(len(found := step(self, *rest))) or found
    )
    texts = ["Yes.", "No.", "Tom!", "The children are playing in the garden behind the old house."]
    translations = translator.translate(texts)
    assert translations[:2] == ["Ja.", "Nein."]
    assert sizes[0] == 4
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


def test_an_empty_list_gives_an_empty_list(translator):
    assert translator.generate_ids([]) == []


def test_numpy_integers_and_arrays_are_ids(translator):
    rows = sentences(translator, 6, 9)
    found = translator.generate_ids([np.array(row, np.int32) for row in rows], max_length=5)
    assert found == translator.generate_ids(rows, max_length=5)
    assert all(type(i) is int for row in found for i in row)


def test_the_longest_source_that_a_model_takes_is_taken(translator):
    longest = translator.manifest.generation.max_source_tokens
    row = [*[5] * (longest - 1), translator.manifest.generation.eos_token_id]
    short = [7, translator.manifest.generation.eos_token_id]
    both = translator.generate_ids([row, short], max_length=6)
    assert both == [translator.generate_ids([row], max_length=6)[0], translator.generate_ids([short], max_length=6)[0]]


@pytest.fixture(scope="module")
def endless(endless_bundle):
    return load(endless_bundle)


class TestEndless:
    """A model that never chooses EOS."""

    @pytest.mark.parametrize(("length", "expected"), [(1, 16), (5, 16), (6, 18), (10, 30), (20, 60), (40, 61)])
    def test_output_is_at_most_three_times_as_long_as_the_source(self, endless, length, expected):
        """But 16 for a short one, and never more than the model has positions for."""
        row = [*range(2, length + 1), 0]
        assert [len(ids) for ids in endless.generate_ids([row])] == [expected]

    @pytest.mark.parametrize(("max_length", "expected"), [(1, 1), (7, 7), (61, 61), (62, 61), (10**9, 61)])
    def test_max_length_overrides_the_relative_limit(self, endless, max_length, expected):
        assert [len(ids) for ids in endless.generate_ids([[5, 0]], max_length=max_length)] == [expected]

    def test_each_row_of_a_batch_has_its_own_limit(self, endless):
        rows = [[*range(2, length + 1), 0] for length in (20, 1, 8, 13)]
        found = endless.generate_ids(rows)
        assert [len(ids) for ids in found] == [60, 16, 24, 39]
        assert found == [endless.generate_ids([row])[0] for row in rows]

    def test_text_ends_too(self, endless):
        assert len(endless.translate("Tom " * 500)) > 100


def test_a_sentence_that_ends_at_once_is_empty(tmp_path):
    from edgekit.export.pipeline import export_checkpoint
    from edgekit.export.sources.local_directory import read_directory
    from tests.graph.marian_checkpoints import make_marian, save_marian

    save_marian(make_marian(eos_bias=1e4), tmp_path)
    translator = load(export_checkpoint(read_directory(tmp_path, "tiny"), "fp32", tmp_path / "bundle"))
    assert translator.generate_ids([[5, 6, 0], [0]]) == [[], []]
    assert translator.translate(["Hello", "you"]) == ["", ""]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[5, 0], []], r"sentence 1 has 0 ids; this model takes 1 to 60, EOS included"),
        ([[5] * 61], r"sentence 0 has 61 ids; this model takes 1 to 60, EOS included"),
        ([[0], [131, 0]], r"sentence 1 has ids outside the vocabulary, 0 to 130"),
        ([[-1, 0]], r"sentence 0 has ids outside the vocabulary, 0 to 130"),
        ([[2**70, 0]], r"sentence 0 has ids outside the vocabulary, 0 to 130"),
        ([["a", 0]], r"sentence 0 must be a sequence of ids"),
        ([[1.5, 0]], r"sentence 0 must be a sequence of ids"),
        ([[None]], r"sentence 0 must be a sequence of ids"),
        (["12"], r"sentence 0 must be a sequence of ids"),
        ([7], r"sentence 0 must be a sequence of ids"),
        ([None], r"sentence 0 must be a sequence of ids"),
        ([np.array([[1, 0]])], r"sentence 0 must be a sequence of ids"),
        (5, r"generate_ids takes a list of sentences, found int"),
        (None, r"generate_ids takes a list of sentences, found NoneType"),
    ],
)
def test_ids_that_are_none_are_refused(marian_bundle, rows, message):
    with pytest.raises(InputError, match=message):
        load(marian_bundle).generate_ids(rows)


@pytest.mark.parametrize("number", [0, -1, 1.5, "3", True])
def test_numbers_that_are_none_are_refused(marian_bundle, number):
    translator = load(marian_bundle)
    for name in ("max_length", "batch_tokens"):
        for call, argument in (
            (translator.generate_ids, [[5, 0]]),
            (translator.translate, "Hello"),
            (translator.generate_ids, []),
            (translator.translate, ""),
        ):
            with pytest.raises(InputError, match=f"{name} must be a whole number from 1, found {number!r}"):
                call(argument, **{name: number})


def test_batch_tokens_of_none_is_refused(marian_bundle):
    with pytest.raises(InputError, match="batch_tokens must be a whole number from 1, found None"):
        load(marian_bundle).generate_ids([[5, 0]], batch_tokens=None)
