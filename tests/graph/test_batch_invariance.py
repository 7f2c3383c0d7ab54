"""A sentence's logits are the same, bit for bit, alone and in any batch, whatever its place and padding."""

import numpy as np
import pytest

from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.emitter import Emitter
from edgekit.quantize.weights import quantize_weights
from edgekit.recipes import embedded_dir
from edgekit.runtime.shortlist import Shortlist
from tests.bergamot_fixture import make_student
from tests.graph.forced_decoding import ForcedDecoding
from tests.graph.marian_checkpoints import make_marian, save_marian

HEADS = 2
HEAD_DIMS = (8, 16, 24, 32, 48, 64)
SENTENCES, STEPS, BATCHES = 16, 7, 12
LONGEST = 120


def embedded(directory):
    return read_marian(read_directory(embedded_dir("marian-en-de"), "marian-en-de"))


def marian(head_dim):
    def make(directory):
        d = HEADS * head_dim
        model = make_marian(d_model=d, encoder_layers=2, encoder_ffn_dim=37, max_position_embeddings=LONGEST + 8)
        return read_marian(read_directory(save_marian(model, directory), "tiny"))

    return make


def student(head_dim, *, separate_vocab):
    def make(directory):
        sizes = {"d": HEADS * head_dim, "ffn": 44, "encoder_layers": 2, "decoder_layers": 2, "heads": HEADS}
        make_student(directory, vocab=150, **sizes, separate_vocab=separate_vocab)
        return read_bergamot(read_directory(directory, "tiny"))

    return make


MODELS = {
    "embedded": embedded,
    **{f"marian-{size}": marian(size) for size in HEAD_DIMS},
    **{f"student-{size}": student(size, separate_vocab=True) for size in HEAD_DIMS},
    **{f"student-with-shortlist-{size}": student(size, separate_vocab=False) for size in HEAD_DIMS},
}


class Batches:
    """Sentences of 1 to 120 ids with their targets, run in any batch."""

    def __init__(self, model, precision, directory, weights=None):
        if weights is None:
            weights = quantize_weights(model.weights) if precision == "int8" else model.weights
        listed = model.shortlist
        self.shortlist = listed and Shortlist(listed.offsets.astype(int), listed.target_ids.astype(int), listed.first)
        self.graphs = ForcedDecoding(directory, model.config, weights, precision, self.shortlist)
        self.random = np.random.default_rng(5)
        lengths = [1, 2, 3, 4, 5, LONGEST, *self.random.integers(1, LONGEST, SENTENCES - 6)]
        top = min(model.config.source_vocab_size, model.config.target_vocab_size) - 2
        self.rows = [[*self.random.integers(2, top, length - 1).tolist(), 0] for length in lengths]
        self.targets = self.random.integers(2, top, (SENTENCES, STEPS))
        self.targets[:, 0] = model.generation.start_token_id

    def run(self, indices):
        """Logits of each sentence's own candidates, and its greedy choices."""
        rows = [self.rows[i] for i in indices]
        capacity = int(self.random.integers(STEPS, 100))  # of the caches: the runtime's depends on the batch too
        logits, choices = self.graphs.logits(rows, self.targets[indices], capacity=capacity)
        if self.shortlist is None:
            return list(zip(logits, choices, strict=True))
        shared = self.shortlist.for_batch(rows)[0]
        own = [np.searchsorted(shared, self.shortlist.candidates(row)) for row in rows]
        return [(row[:, mine], choice) for row, mine, choice in zip(logits, own, choices, strict=True)]

    def some(self):
        """Indices of 2 to all sentences in random order."""
        return self.random.permutation(SENTENCES)[: self.random.integers(2, SENTENCES + 1)]


@pytest.fixture(params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.mark.parametrize("name", MODELS)
def test_logits_do_not_depend_on_the_batch(name, precision, tmp_path):
    batches = Batches(MODELS[name](tmp_path), precision, tmp_path)
    # The rows of a shortlist are no constant, and onnxruntime sums one row by another matrix in an order of its own.
    exact_alone = batches.shortlist is None
    alone = [batches.run([i])[0] for i in range(SENTENCES)]
    twice = alone if exact_alone else [batches.run([i, i])[0] for i in range(SENTENCES)]
    for _ in range(BATCHES):
        indices = batches.some()
        for i, (logits, choices) in zip(indices, batches.run(indices), strict=True):
            np.testing.assert_array_equal(logits, twice[i][0])
            np.testing.assert_array_equal(choices, alone[i][1])
    for (one, _), (other, _) in zip(alone, twice, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_sentences_of_a_batch_do_differ(tmp_path):
    """What equality is worth: other sources give other logits."""
    batches = Batches(embedded(tmp_path), "int8", tmp_path)
    batches.targets[:] = batches.targets[0]
    logits = [row for row, _ in batches.run(range(SENTENCES))]
    assert min(np.abs(one - logits[0]).max() for one in logits[1:]) > 0.1


def test_what_padding_is_made_of_does_not_matter(precision, tmp_path):
    batches = Batches(embedded(tmp_path), precision, tmp_path)
    with_zeros, _ = batches.graphs.logits(batches.rows, batches.targets, pad_id=0)
    with_others, _ = batches.graphs.logits(batches.rows, batches.targets, pad_id=1234)
    np.testing.assert_array_equal(with_zeros, with_others)


def test_an_activation_scale_of_the_whole_batch_would_be_noticed(tmp_path, monkeypatch):
    """One neighbour with large values changes a sentence where a scale is shared: this file's tests can fail."""

    def one_scale(self, x, width):
        scale = self.op(
            "Mul", self.op("ReduceMax", self.op("Abs", x), keepdims=0), self.constant(np.array(1 / 127, np.float32))
        )
        return self.op("QuantizeLinear", x, scale, self.constant(np.array(128, np.uint8))), scale

    monkeypatch.setattr(Emitter, "_quantize_rows", one_scale)
    batches = Batches(embedded(tmp_path), "int8", tmp_path)
    assert not np.array_equal(batches.run([0, 1, 5])[0][0], batches.run([0])[0][0])
