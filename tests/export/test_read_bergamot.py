"""A Bergamot student's files to a model: vocabularies, limits and the shortlist."""

import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.sources.local_directory import read_directory
from tests.bergamot_fixture import make_student, pack_shortlist, sentencepiece_model

SIZES = {"vocab": 100, "d": 8, "ffn": 12, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}


@pytest.fixture
def student(tmp_path):
    return make_student(tmp_path, **SIZES)


def read(student):
    return read_bergamot(read_directory(student.directory, "tiny"))


def test_limits_are_those_of_the_published_configurations(student):
    generation = read(student).generation
    assert generation.start_token_id == 100
    assert (generation.eos_token_id, generation.unk_token_id) == (0, 1)
    assert generation.max_source_tokens == 128
    assert generation.max_length == 320
    assert generation.max_length_factor == 2.5


def test_one_vocabulary_serves_both_sides(student):
    found = read(student)
    assert list(found.tokenizers) == ["tokenizer.json"]
    assert found.tokenizer_files.source == found.tokenizer_files.target == "tokenizer.json"
    assert (found.tokenizer_files.source_vocab_size, found.tokenizer_files.target_vocab_size) == (100, 100)


def test_separate_vocabularies_have_a_tokenizer_each_and_no_shortlist(tmp_path):
    found = read(make_student(tmp_path, **SIZES, separate_vocab=True))
    assert sorted(found.tokenizers) == ["source_tokenizer.json", "target_tokenizer.json"]
    assert found.tokenizers["source_tokenizer.json"] != found.tokenizers["target_tokenizer.json"]
    assert found.shortlist is None
    assert not found.config.has_shortlist


def test_a_student_without_a_shortlist_is_read_without(student):
    student.shortlist.unlink()
    found = read(student)
    assert found.shortlist is None
    assert not found.config.has_shortlist


def test_each_source_id_is_added_to_its_own_list(student):
    # Source id 2 suggests 60 and 61, id 3 suggests 3 and 99, all others nothing.
    counts = np.zeros(100, int)
    counts[[2, 3]] = 2
    student.shortlist.write_bytes(pack_shortlist(np.cumsum([0, *counts]), [60, 61, 3, 99]))
    found = read(student).shortlist
    lists = [found.target_ids[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
    assert lists[:5] == [[0], [1], [2, 60, 61], [3, 99], [4]]
    assert lists[5:] == [[i] for i in range(5, 100)]
    assert found.first == 50
    assert found.target_ids.dtype == np.uint16


def test_a_vocabulary_of_another_size_is_refused(student):
    student.source_vocab.write_bytes(sentencepiece_model("en pt", 101))
    with pytest.raises(SourceError, match=r"vocab\.enpt\.spm has 101 pieces, but the model's embedding has 100 rows"):
        read(student)
