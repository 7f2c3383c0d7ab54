import functools
import io
import json

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.gguf_file import parse_gguf
from edgekit.export.tokenizer import gguf_vocabulary
from edgekit.export.tokenizer.gguf_vocabulary import read_gguf_vocabulary
from tests.gguf_files import write_gguf

TEXT = [
    *("The quick brown fox jumps over the lazy dog, and it's 12345 o'clock: don't panic!", "  indented\n\n\tcode"),
    *("def main(value: int) -> int:\n    return value ** 2  # squared", "Größe und Straße, häufig und über 3,14159"),
    *(
        "a coração não é pão; às 10h30 no dia 7",
        "它是一个测试。你好，世界！",
        "Café, naïve, résumé",
        "x = [0] * 100000000",
    ),
    *("WE'LL SEE, I'm sure they'VE seen 2,000 of 30000", "spaces      and     more   spaces", "日本語のテキスト 3つ"),
]
# Mixed lines on which wrong splits, normalisation or merges show.
SAMPLE = [
    *TEXT,
    *("", " ", "  ", "\n", "\r\n\r\n", "\t\t x", "a  12  34", "1", "12", "123", "1234", "12345678901", " 7  8", "3.14"),
    *(
        "it's IT'S I'LL we've",
        "e\u0301 u\u0308ber",
        "\u00e9 \u1e69",
        "½ ² Ⅷ ٣٤",
        "x\u00a0y\u3000z\u2028w\u200b",
        "...!!!???",
    ),
    *("emoji 👩‍👩‍👧 🏳️‍🌈 ❤️", "한국어 ไทย العربية हिन्दी", "foo_bar(x[0], y={1: 'a'})\n\n\n  z", "\x00\x01\x1f\x7f\x85"),
    *(
        "trailing  ",
        "a\n b\n  c\n",
        "http://example.org/a?b=c&d=12#e",
        "CamelCaseWords snake_case_words",
        "−5 €20 £3 ¥",
    ),
]
CONTROL = ["<|endoftext|>", "<|im_start|>"]

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def words(digits):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS % digits), "isolated"), BYTES])


# The original tokenizers' splits, as in their tokenizer.json.
ORIGINALS = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "llama-bpe": words("{1,3}"),
    "qwen2": words(""),
}


@functools.cache
def train(pre):
    """A byte-level BPE tokenizer as its authors publish it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = ORIGINALS[pre]
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=CONTROL,
        initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet())),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    return tokenizer


def metadata_of(tokenizer, **changes):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in CONTROL else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    metadata |= {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return {key: value for key, value in metadata.items() if value is not None}


@pytest.fixture
def read(tmp_path):
    """The vocabulary of a file with this metadata."""

    def read(metadata, architecture="llama"):
        path = write_gguf(tmp_path / "model.gguf", metadata, {}, architecture=architecture)
        return read_gguf_vocabulary(parse_gguf(path), architecture)

    return read


def encode(vocabulary, lines=SAMPLE):
    tokenizer = Tokenizer.from_str(vocabulary.tokenizer_json)
    return [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]


@pytest.mark.parametrize("pre", ORIGINALS)
def test_ids_and_text_are_the_original_tokenizers(read, pre):
    original = train(pre)
    vocabulary = read(metadata_of(original, pre=pre))
    expected = [original.encode(line, add_special_tokens=False).ids for line in SAMPLE]
    assert encode(vocabulary) == expected
    ours = Tokenizer.from_str(vocabulary.tokenizer_json)
    assert [ours.decode(ids) for ids in expected] == [original.decode(ids) for ids in expected]
    assert vocabulary.adds_bos == (pre == "llama-bpe")


@pytest.mark.parametrize(("architecture", "pre"), [("gpt2", "gpt-2"), ("qwen2", "qwen2"), ("qwen3", "qwen2")])
@pytest.mark.parametrize("says", [True, False])
def test_ids_are_those_of_transformers_reading_the_same_file(read, tmp_path, architecture, pre, says):
    vocabulary = read(metadata_of(train(pre), pre=pre if says else None), architecture)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    assert encode(vocabulary) == [theirs(line, add_special_tokens=False).input_ids for line in SAMPLE]


def test_smollm_cuts_digits_off_where_transformers_does_not(read, tmp_path):
    # transformers 4.57 splits as GPT-2 for any llama, so spaces before a digit join otherwise.
    vocabulary = read(metadata_of(train("smollm"), pre="smollm"))
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    differing = [
        line for line, ids in zip(SAMPLE, encode(vocabulary), strict=True) if ids != theirs(line).input_ids[1:]
    ]
    assert differing == ["a  12  34", " 7  8"]


def test_bytes_that_the_vocabulary_lacks_are_left_out(read):
    metadata = metadata_of(train("smollm"), pre="smollm")
    tokens = metadata["tokenizer.ggml.tokens"]
    lacking = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("\x04")[0][0]
    tokens[tokens.index(lacking)] = "[unused]"
    first, second = encode(read(metadata), ["x\x04\x04", "x"])
    assert first == second


def test_without_a_pre_tokenizer_a_llama_gets_llama_cpps_default(read):
    # Punctuation first, digits in threes: "ab12345!?" is ab, 123, 45, !?.
    metadata = metadata_of(train("gpt-2"), pre=None)
    ours = Tokenizer.from_str(read(metadata).tokenizer_json)
    pieces = [piece for piece, _ in ours.pre_tokenizer.pre_tokenize_str("ab12345!?")]
    assert pieces == ["ab", "123", "45", "!?"]
    assert encode(read(metadata)) == encode(read({**metadata, "tokenizer.ggml.pre": "default"}))


def test_control_tokens_are_special_and_user_defined_ones_are_not(read):
    metadata = metadata_of(train("smollm"), pre="smollm")
    metadata["tokenizer.ggml.tokens"] += ["<tool>"]
    metadata["tokenizer.ggml.token_type"] += [4]
    tokenizer = Tokenizer.from_str(read(metadata).tokenizer_json)
    added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    assert {content for content, token in added.items() if token.special} == set(CONTROL)
    assert added["<tool>"] == AddedToken("<tool>", normalized=False, special=False)
    tool = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert tokenizer.encode("<|im_start|>a<tool>").ids == [1, *tokenizer.encode("a").ids, tool]
    tokenizer.encode_special_tokens = True
    spelled = tokenizer.encode("<|im_start|>").ids
    assert 1 not in spelled
    assert tokenizer.decode(spelled) == "<|im_start|>"


@functools.cache
def train_sentencepiece():
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 3),
        model_writer=stream,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return stream.getvalue()


def sentencepiece_metadata(**changes):
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(train_sentencepiece())
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece.piece for piece in model.pieces],
        "tokenizer.ggml.scores": [float(piece.score) for piece in model.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in model.pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    metadata |= {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return {key: value for key, value in metadata.items() if value is not None}


def test_sentencepiece_ids_and_text_are_sentencepieces(read):
    vocabulary = read(sentencepiece_metadata())
    processor = sentencepiece.SentencePieceProcessor(model_proto=train_sentencepiece())
    lines = [line for line in SAMPLE if line and "\0" not in line]
    expected = [processor.encode(line) for line in lines]
    assert encode(vocabulary, lines) == expected
    tokenizer = Tokenizer.from_str(vocabulary.tokenizer_json)
    assert [tokenizer.decode(ids) for ids in expected] == [processor.decode(ids) for ids in expected]
    assert vocabulary.adds_bos


def test_sentencepiece_ids_are_those_of_transformers_reading_the_same_file(read, tmp_path):
    vocabulary = read(sentencepiece_metadata())
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    assert encode(vocabulary) == [theirs(line, add_special_tokens=False).input_ids for line in SAMPLE]


def test_without_a_space_prefix_text_begins_as_it_is(read):
    with_prefix = encode(read(sentencepiece_metadata()), [" The"])
    assert encode(read(sentencepiece_metadata(add_space_prefix=False)), [" The"]) != with_prefix
    tokenizer = Tokenizer.from_str(read(sentencepiece_metadata(add_space_prefix=False)).tokenizer_json)
    assert tokenizer.decode(tokenizer.encode(" The fox").ids) == " The fox"
    assert tokenizer.encode("The fox").tokens[0][0] != "▁"


def test_without_byte_pieces_an_unknown_character_is_unknown(read):
    metadata = sentencepiece_metadata()
    tokens = metadata["tokenizer.ggml.tokens"]
    tokens[tokens.index("<0x00>")] = "other"
    tokenizer = Tokenizer.from_str(read(metadata).tokenizer_json)
    assert 0 in tokenizer.encode("ж").ids


GOOD = metadata_of(train("gpt-2"), pre="gpt-2")
COUNT = len(GOOD["tokenizer.ggml.tokens"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, r"expected tokenizer\.ggml\.model to be gpt2 or llama, found none"),
        ({"model": "bert"}, r"expected tokenizer\.ggml\.model to be gpt2 or llama, found 'bert'"),
        ({"pre": "tekken"}, r"expected tokenizer\.ggml\.pre to be one of .*smollm.*, found 'tekken'"),
        ({"add_eos_token": True}, r"tokenizer\.ggml\.add_eos_token=true would end every prompt"),
    ],
)
def test_other_vocabularies_are_refused_by_name(read, tmp_path, changes, message):
    with pytest.raises(UnsupportedError, match=message) as caught:
        read(metadata_of(train("gpt-2"), **{"pre": "gpt-2", **changes}))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tokens": None},
            r"expected a list of texts under tokenizer\.ggml\.tokens, found none; convert the model again",
        ),
        ({"tokens": [1, 2]}, r"expected a list of texts under tokenizer\.ggml\.tokens, found something else"),
        ({"tokens": ["a", "b", "a"]}, r"expected each token once, found 'a' twice; the file is damaged"),
        ({"merges": None}, r"expected a list of texts under tokenizer\.ggml\.merges, found none"),
        ({"merges": ["ab"]}, r"expected merges of two parts, found 'ab'; the file is damaged"),
        ({"merges": ["a b c"]}, r"expected merges of two parts, found 'a b c'"),
        ({"merges": ["q zzz"]}, r"expected a vocabulary that fits its merges, found: .*out of vocabulary"),
        ({"token_type": [1]}, rf"expected {COUNT} numbers under tokenizer\.ggml\.token_type, found 1; the file is"),
        ({"token_type": "x"}, rf"expected {COUNT} numbers under tokenizer\.ggml\.token_type, found something else"),
    ],
)
def test_a_byte_level_vocabulary_that_contradicts_itself_is_refused(read, changes, message):
    with pytest.raises(SourceError, match=message):
        read(metadata_of(train("gpt-2"), **{"pre": "gpt-2", **changes}))


def test_too_many_tokens_are_refused(read, monkeypatch):
    monkeypatch.setattr(gguf_vocabulary, "MAX_TOKENS", COUNT - 1)
    with pytest.raises(SourceError, match=rf"expected 1 to {COUNT - 1} tokens, found {COUNT}; the file is damaged"):
        read(GOOD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, r"expected a finite score for each token, found none; convert the model again"),
        ({"scores": [1.0]}, r"numbers under tokenizer\.ggml\.scores, found 1"),
        (
            {"tokens": ["a" * 257], "token_type": None},
            r"pieces of at most 256 characters, found one of 257, 257 in all",
        ),
    ],
)
def test_a_sentencepiece_vocabulary_that_contradicts_itself_is_refused(read, changes, message):
    with pytest.raises(SourceError, match=message):
        read(sentencepiece_metadata(**changes))


def test_extra_white_space_that_sentencepiece_would_remove_is_refused(read):
    with pytest.raises(UnsupportedError, match=r"tokenizer\.ggml\.remove_extra_whitespaces=true is not implemented"):
        read(sentencepiece_metadata(remove_extra_whitespaces=True))
