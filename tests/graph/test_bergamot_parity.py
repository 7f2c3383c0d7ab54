"""Bergamot students: fp32 graphs give what Marian's equations give, from the same binary; int8 comes close."""

import numpy as np
import pytest

from edgekit.export.pipeline import export_checkpoint
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.sources.local_directory import read_directory
from edgekit.export.sources.marian_binary import read_marian_binary
from edgekit.graph.check import logits_difference
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.runtime import load
from edgekit.runtime.shortlist import Shortlist
from tests.bergamot_fixture import make_student
from tests.graph.forced_decoding import ForcedDecoding
from tests.graph.marian_equations import student_logits

STUDENTS = {
    "tiny": {"d": 16, "ffn": 32, "encoder_layers": 2, "decoder_layers": 2, "heads": 2},
    "uneven-depths": {"d": 24, "ffn": 20, "encoder_layers": 3, "decoder_layers": 1, "heads": 3},
    "wide-heads": {"d": 128, "ffn": 64, "encoder_layers": 1, "decoder_layers": 2, "heads": 2},
    "separate-vocabularies": {
        "d": 16,
        "ffn": 48,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "heads": 4,
        "separate_vocab": True,
    },
    "one-head": {"d": 16, "ffn": 16, "encoder_layers": 3, "decoder_layers": 1, "heads": 1},
    "separate-vocabularies-many-heads": {
        "d": 32,
        "ffn": 64,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "heads": 8,
        "separate_vocab": True,
    },
}
VOCAB = 120
UNK = 1
# int8: root mean square difference of the logits as a share of their spread.
CLOSE = 0.1
SOURCES = ([0], [5, 9, 0], [77, 3, 44, 44, 8, 0], [*range(20, 37), 0])


class Case:
    """One student: its items, and what edgekit read from them."""

    def __init__(self, name, directory):
        student = make_student(directory, vocab=VOCAB, seed=sorted(STUDENTS).index(name), **STUDENTS[name])
        self.binary = read_marian_binary(student.model)
        self.checkpoint = read_directory(directory, "tiny")
        self.read = read_bergamot(self.checkpoint)

    def expected(self, source, target):
        return student_logits(self.binary.tensors, self.binary.config, source, target)


@pytest.fixture(scope="module", params=STUDENTS)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_logits_equal_marians_equations_with_padding_in_the_batch_and_int8_is_close(case, tmp_path):
    shortlist = None
    if case.read.config.has_shortlist:  # one that lists everything
        size = case.read.config.target_vocab_size
        shortlist = Shortlist(np.zeros(VOCAB + 1, np.int64), np.array([], np.int64), size)
    targets = np.random.default_rng(1).integers(2, VOCAB, (len(SOURCES), 6))
    inputs = np.hstack([np.full((len(SOURCES), 1), case.read.generation.start_token_id), targets])
    possible = [0, *range(2, VOCAB)]
    for precision in ("fp32", "int8"):
        weights = quantize_weights(case.read.weights, named_scheme("seq2seq", precision))
        (tmp_path / precision).mkdir()
        graphs = ForcedDecoding(tmp_path / precision, case.read.config, weights, precision, shortlist)
        found, _ = graphs.logits(SOURCES, inputs)
        for row, (source, target) in enumerate(zip(SOURCES, targets, strict=True)):
            expected = case.expected(source, target)[:, possible]
            assert expected.std() > 0.5
            if precision == "fp32":
                np.testing.assert_allclose(found[row][:, possible], expected, rtol=0, atol=1e-3)
            else:
                assert 0 < logits_difference(found[row][:, possible], expected) < CLOSE
        assert (found[..., [UNK, VOCAB]] < -1e8).all()


def greedy(case, source, allowed, limit):
    target = []
    while len(target) < limit:
        logits = case.expected(source, target)[-1]
        masked = np.full_like(logits, -np.inf)
        masked[allowed] = logits[allowed]
        masked[UNK] = -np.inf
        best = int(masked.argmax())
        if best == 0:
            break
        target.append(best)
    return target


def test_greedy_search_chooses_among_the_shortlist_as_marian_does(case, tmp_path):
    translator = load(export_checkpoint(case.checkpoint, "fp32", tmp_path / "bundle"))
    found = translator.generate_ids(SOURCES, max_length=12)
    expected = []
    for source in SOURCES:
        allowed = np.arange(VOCAB)
        if (listed := case.read.shortlist) is not None:
            allowed = {*range(listed.first), *source}
            for i in source:
                allowed |= set(listed.target_ids[listed.offsets[i] : listed.offsets[i + 1]].tolist())
            allowed = sorted(allowed)
        expected.append(greedy(case, source, allowed, 12))
    assert found == expected
    assert max(map(len, found)) > 2


def test_separate_vocabularies_have_no_shortlist_and_shared_ones_have(case):
    assert (case.read.shortlist is None) == (not case.read.config.shared_embeddings)
    assert case.read.config.shared_embeddings == ("Wemb" in case.binary.tensors)
