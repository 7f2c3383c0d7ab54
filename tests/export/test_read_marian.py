"""A MarianMT repository's files to a model: token ids, limits and tokenizers."""

import json

import pytest

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from tests.graph.marian_checkpoints import make_marian, save_marian


@pytest.fixture(scope="module")
def model():
    return make_marian()


@pytest.fixture
def repository(model, tmp_path):
    save_marian(model, tmp_path)
    (tmp_path / "generation_config.json").unlink()
    return tmp_path


def change(path, **options):
    values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(values | options), encoding="utf-8")


def read(directory):
    return read_marian(read_directory(directory, "tiny"))


def test_token_ids_and_limits_come_from_config_json(repository):
    generation = read(repository).generation
    assert (generation.start_token_id, generation.eos_token_id, generation.pad_token_id) == (130, 0, 130)
    assert generation.unk_token_id == 1
    assert generation.max_source_tokens == 64
    assert generation.max_length == 62  # MarianConfig forces an EOS, and the start token has a position too
    assert generation.max_length_factor == 3.0


def test_generation_config_goes_before_config_json(repository):
    change(repository / "config.json", max_length=20, min_length=4, bad_words_ids=[[7]])
    change(repository / "generation_config.json", max_length=30, eos_token_id=2)
    found = read(repository)
    assert found.generation.eos_token_id == 2
    assert found.generation.max_length == 29  # no forced EOS there
    assert found.weights["output.bias"][7] > -100


def test_max_length_is_bounded_by_the_positions(repository):
    change(repository / "generation_config.json", max_length=1000)
    assert read(repository).generation.max_length == 63


def test_sources_are_as_long_as_whole_fours_of_positions_allow(tmp_path):
    """The runtime pads to whole fours, and padding needs positions too."""
    save_marian(make_marian(max_position_embeddings=63), tmp_path)
    generation = read(tmp_path).generation
    assert generation.max_source_tokens == 60


@pytest.mark.parametrize("longest", [1, 2])
def test_at_least_one_token_may_come_out(repository, longest):
    change(repository / "config.json", max_length=longest)
    assert read(repository).generation.max_length == 1


@pytest.mark.parametrize("longest", ["many", [3], 2.5, -1, True])
def test_a_max_length_that_is_none_is_refused(repository, longest):
    change(repository / "config.json", max_length=longest)
    with pytest.raises(SourceError, match="expected a whole number above 0 for max_length, found "):
        read(repository)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"eos_token_id": None}, "eos_token_id=None"),
        ({"eos_token_id": [0, 2]}, r"eos_token_id=\[0, 2\]"),
        ({"pad_token_id": 131, "decoder_start_token_id": -1}, "decoder_start_token_id=-1, pad_token_id=131"),
        ({"pad_token_id": True}, "pad_token_id=True"),
    ],
)
def test_token_ids_outside_the_vocabulary_are_refused(repository, options, named):
    change(repository / "config.json", **options)
    with pytest.raises(SourceError, match=f"config.json: expected ids within the vocabulary, found {named}"):
        read(repository)


def test_unsupported_options_of_both_files_are_in_one_message(repository):
    change(repository / "config.json", normalize_before=True, activation_function="tanh")
    change(repository / "generation_config.json", min_length=3)
    with pytest.raises(UnsupportedError, match=r"activation_function='tanh'.*normalize_before=True.*min_length=3"):
        read(repository)


def test_a_shared_vocabulary_serves_both_sides(repository):
    found = read(repository)
    assert (found.tokenizer_files.source, found.tokenizer_files.target) == ("tokenizer.json", "tokenizer.json")
    assert list(found.tokenizers) == ["tokenizer.json"]
    assert (found.tokenizer_files.source_vocab_size, found.tokenizer_files.target_vocab_size) == (131, 131)
    assert found.shortlist is None


def test_separate_vocabularies_have_sizes_of_their_own(tmp_path):
    save_marian(make_marian(share_encoder_decoder_embeddings=False, decoder_vocab_size=143), tmp_path)
    found = read(tmp_path)
    assert (found.tokenizer_files.source, found.tokenizer_files.target) == (
        "source_tokenizer.json",
        "target_tokenizer.json",
    )
    assert list(found.tokenizers) == ["source_tokenizer.json", "target_tokenizer.json"]
    assert (found.tokenizer_files.source_vocab_size, found.tokenizer_files.target_vocab_size) == (131, 143)
    assert found.weights["target_embedding.weight"].shape == (143, 16)
    assert found.weights["output.bias"].shape == (143,)


def test_vocab_json_larger_than_the_embedding_gives_no_id_beyond_it(repository):
    """The tokenizer clamps: such a piece is unknown instead of an index that onnxruntime refuses."""
    change(repository / "vocab.json", **{f"extra{i}": 131 + i for i in range(9)})
    assert read(repository).tokenizer_files.source_vocab_size == 131


def test_truncated_weights_are_refused(repository):
    path = repository / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        read(repository)
