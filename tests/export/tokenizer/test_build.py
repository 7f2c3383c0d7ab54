"""tokenizer.json from SentencePiece models: ids as in MarianTokenizer, what is refused, what is written."""

import io
import json

import pytest
import sentencepiece
import tokenizers
from transformers import MarianTokenizer

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.tokenizer import build_marian_tokenizers, build_tokenizer, vocab_size
from tests.damage import damaged_copies, refusals
from tests.export.tokenizer.spm_models import (
    MARIAN,
    ODD_TEXTS,
    SYMBOLS,
    TRAINED,
    changed,
    load,
    parse,
    sentences,
    trained,
)

CONTROL, USER_DEFINED, BYTE = 3, 4, 6
# sacremoses is recommended for a normaliser that no tokenising calls.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended:UserWarning")

# Their names in a text are special tokens to MarianTokenizer, and text to edgekit.
ORDINARY_ODD_TEXTS = [text for text in ODD_TEXTS if not any(name in text for name in ("</s>", "<unk>", "<pad>"))]


def marian_checkpoint(directory, source_spm, target_spm, vocab, target_vocab=None):
    """MarianTokenizer's files, it and edgekit's two."""
    files = {"source.spm": source_spm, "target.spm": target_spm, "vocab.json": json.dumps(vocab).encode()}
    if target_vocab:
        files["target_vocab.json"] = json.dumps(target_vocab).encode()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    reference = MarianTokenizer(
        str(directory / "source.spm"),
        str(directory / "target.spm"),
        str(directory / "vocab.json"),
        target_vocab_file=str(directory / "target_vocab.json") if target_vocab else None,
        separate_vocabs=target_vocab is not None,
    )
    source, target = build_marian_tokenizers(source_spm, target_spm, vocab, target_vocab)
    return reference, load(source, directory / "s.json"), load(target, directory / "t.json")


def assert_equal_to_marian(checkpoint, texts):
    """Ids of both sides, and text of all that is not special; MarianTokenizer appends the source's EOS to both."""
    reference, source, target = checkpoint
    assert source.encode_batch(texts) == [ids[:-1] for ids in reference(texts).input_ids]
    expected = [ids[:-1] for ids in reference(text_target=texts).input_ids]
    assert target.encode_batch(texts) == expected
    known = [[index for index in ids if index != target.unk_token_id] for ids in expected]
    decoded = reference.batch_decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert [target.decode(ids) for ids in known] == decoded


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    files = [(MARIAN / name).read_bytes() for name in ("source.spm", "target.spm", "vocab.json")]
    return marian_checkpoint(tmp_path_factory.mktemp("embedded"), *files[:2], json.loads(files[2]))


@pytest.mark.parametrize("language", ["en", "de", "pt"])
def test_the_embedded_checkpoint_equals_marian_tokenizer_on_2000_real_sentences(embedded, language):
    assert_equal_to_marian(embedded, sentences(language))


def test_the_embedded_checkpoint_equals_marian_tokenizer_on_odd_texts(embedded):
    assert_equal_to_marian(embedded, ORDINARY_ODD_TEXTS)


def normal_pieces(spm):
    return [piece.piece for piece in parse(spm).pieces if piece.type in (1, USER_DEFINED, BYTE)]


def numbered(pieces):
    return {piece: index for index, piece in enumerate(pieces)}


@pytest.mark.parametrize("models", [("unigram", "bpe"), ("bpe-bytes", "unigram-bytes"), ("unigram-suffix", "unigram")])
def test_pieces_that_vocab_json_lacks_are_unknown_and_its_own_are_found_in_unknown_text(tmp_path, models):
    """One vocab.json for two models: every fifth piece is missing, some words are in neither model."""
    spms = [trained(name) for name in models]
    pieces = dict.fromkeys(piece for spm in spms for piece in normal_pieces(spm))
    kept = [piece for index, piece in enumerate(pieces) if index % 5]
    outside = ["中文", "中", "字", "Дом", "▁zzzz", "<s>"]
    vocab = numbered(["</s>", "<unk>", *kept, *outside, "<pad>"])
    checkpoint = marian_checkpoint(tmp_path, *spms, vocab)
    texts = [*sentences("en")[:200], *sentences("de")[:200], *ORDINARY_ODD_TEXTS]
    unknown = ["Дом", "ДомДом", "中文 字 中文字", "a中", "zzzz", "Tom Дом..."]
    assert_equal_to_marian(checkpoint, texts + unknown)
    if models[0] == "unigram":
        assert vocab["Дом"] in checkpoint[1].encode("Дом")
    assert 1 in checkpoint[1].encode(sentences("en")[0])


def test_separate_vocabularies_equal_marian_tokenizer(tmp_path):
    spms = [trained("unigram"), trained("bpe")]
    # MarianTokenizer takes the special tokens' ids from the source's vocabulary for both.
    special = ["<pad>", "</s>", "<unk>"]
    vocabs = [numbered([*special, *normal_pieces(spms[0])]), numbered([*special, *normal_pieces(spms[1])[::-1]])]
    assert_equal_to_marian(marian_checkpoint(tmp_path, *spms, *vocabs), sentences("de")[:300] + ORDINARY_ODD_TEXTS)


def test_a_language_code_counts_at_the_very_beginning_only(tmp_path):
    spm = trained("unigram")
    vocab = numbered(["</s>", "<unk>", *normal_pieces(spm), ">>de<<", ">>pt_br<<", "<pad>"])
    reference, source, _ = marian_checkpoint(tmp_path, spm, spm, vocab)
    texts = [">>de<< Good day", ">>de<<Good", ">>pt_br<<", "Good >>de<< day", " >>de<< a", ">>a", ">>de<<>>de<< a"]
    assert source.encode_batch(texts) == [ids[:-1] for ids in reference(texts).input_ids]
    assert source.encode(">>de<< Good") == [vocab[">>de<<"], *source.encode("Good")]
    assert vocab[">>de<<"] not in source.encode("a >>de<< Good")
    assert source.decode(source.encode(">>de<< Good")) == "Good"


def test_a_language_code_that_the_vocabulary_lacks_is_text(tmp_path):
    """MarianTokenizer makes an unknown token of it."""
    spm = trained("unigram")
    vocab = numbered(["</s>", "<unk>", *normal_pieces(spm), ">>de<<", "<pad>"])
    reference, source, _ = marian_checkpoint(tmp_path, spm, spm, vocab)
    assert source.encode(">>xx<< Good") == sentencepiece_ids(reference, ">>xx<< Good")
    assert reference(">>xx<< Good").input_ids[0] == vocab["<unk>"]


def sentencepiece_ids(reference, text):
    return reference.convert_tokens_to_ids(reference.spm_source.encode(text, out_type=str))


def test_rows_beyond_vocab_json_stay_unreachable(tmp_path):
    """config.json may pad the embedding: its vocab_size is then above the ids of vocab.json."""
    spm = trained("unigram")
    pieces = normal_pieces(spm)
    text = build_marian_tokenizers(spm, spm, numbered(["</s>", "<unk>", *pieces[::2], "<pad>"]))[0]
    size = vocab_size(text)
    assert max(load(text, tmp_path / "t.json", size=size + 100).encode(sentences("en")[0])) < size


def test_user_text_reaches_no_control_piece_of_marian(embedded):
    vocab = json.loads((MARIAN / "vocab.json").read_bytes())
    control = {vocab["</s>"], vocab["<pad>"]}
    for text in ("</s>", "<pad>", "a</s>b", "</s> <pad> <s>", " </s>", "  <pad>"):
        assert not control & set(embedded[1].encode(text))


def test_a_control_piece_of_unknown_characters_is_unknown_text(tmp_path):
    """A run of unknown characters is looked up in vocab.json, but not as a control piece or a language code."""

    def drop(model):
        kept = [piece for piece in model.pieces if piece.type != 1 or not set("</s>d") & set(piece.piece)]
        del model.pieces[:]
        model.pieces.extend(kept)

    spm = changed(trained("unigram"), drop)
    vocab = numbered(["</s>", "<unk>", *normal_pieces(spm), ">>d<<", "<d>", "<pad>"])
    source = load(build_marian_tokenizers(spm, spm, vocab)[0], tmp_path / "t.json")
    assert source.encode("a </s>")[-2:] == [vocab["▁"], vocab["<unk>"]]
    assert source.encode("a >>d<<")[-1] == vocab["<unk>"]
    assert source.encode("a <d>")[-1] == vocab["<d>"]


@pytest.mark.parametrize("name", TRAINED)
def test_the_tokenizers_library_reads_the_file_too(name):
    """As it is, without edgekit's runtime: real text, and no way to a control piece."""
    spm = trained(name)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=spm)
    library = tokenizers.Tokenizer.from_str(build_tokenizer(spm))
    texts = ["", "Good morning!", "Maria isst  gern Äpfel.", "Não há ninguém aqui.", *sentences("en")[-200:]]
    # The library's normaliser would change a user-defined symbol, such as Tom, to lower case.
    texts = [text for text in texts if not any(symbol in text for symbol in SYMBOLS)]
    assert [library.encode(text).ids for text in texts] == theirs.encode(texts)
    control = {index for index in range(theirs.get_piece_size()) if theirs.is_control(index)}
    assert not control & set(library.encode("</s> <s>a</s>").ids)
    ids = [index for index in theirs.encode(texts[3]) if not theirs.is_unknown(index)]
    assert library.decode(ids).strip() == theirs.decode(ids).strip()


def test_the_same_model_gives_the_same_text():
    assert build_tokenizer(trained("bpe-bytes")) == build_tokenizer(trained("bpe-bytes"))
    assert vocab_size(build_tokenizer(trained("unigram"))) == 700


def test_damaged_models_are_refused_in_one_line_or_make_a_tokenizer_that_works(tmp_path):
    spm = changed(trained("unigram"), lambda model: model.pieces.__delitem__(slice(200, None)))

    def read(path):
        tokenizer = load(build_tokenizer(path.read_bytes(), str(path)), tmp_path / "tokenizer.json")
        assert isinstance(tokenizer.decode(tokenizer.encode("Tom a\u0301 中")), str)

    messages = refusals(read, tmp_path / "vocab.spm", damaged_copies(spm, 150))
    assert len(messages) > 150


def test_a_model_cut_between_two_fields_is_refused():
    """What is left is a complete protobuf message."""
    model = parse(trained("unigram"))
    model.ClearField("normalizer_spec")
    with pytest.raises(
        SourceError, match=r"^source.spm: expected a SentencePiece model, found no normalizer_spec; fetch it again$"
    ):
        build_marian_tokenizers(model.SerializeToString(), trained("unigram"), {"<unk>": 0})


def test_a_file_too_large_to_be_a_model_is_refused_unread():
    with pytest.raises(SourceError, match=r"found 8388609 bytes, more than 8388608; fetch it again$"):
        build_tokenizer(b"\n" * (2**23 + 1))


def test_millions_of_empty_pieces_are_refused_uncounted():
    with pytest.raises(SourceError, match=r"found 4194304 pieces; fetch it again$"):
        build_tokenizer(b"\n\0" * 2**22)


def with_piece(text, score=0.0, kind=1):
    return lambda model: model.pieces.add(piece=text, score=score, type=kind)


DAMAGE = {
    "empty": (lambda m: m.ClearField("pieces"), "0 pieces"),
    "no trainer_spec": (lambda m: m.ClearField("trainer_spec"), "no trainer_spec"),
    "piece twice": (with_piece("e"), "a piece twice, 'e'"),
    "empty piece": (with_piece(""), "a piece that is empty, holds NUL or is too long, ''"),
    "NUL": (with_piece("a\0"), r"a piece that is empty, holds NUL or is too long, 'a\\x00'"),
    "no UTF-8": (lambda m: m.MergeFromString(b"\x0a\x04\x0a\x02\xff\xfe"), "a piece that is not UTF-8"),
    "long": (with_piece("q" * 300), "too long, 'qqqqqqqqqqqqqqqqqqqq'"),
    "score": (with_piece("qq", float("nan")), "the score nan of 'qq'"),
    "infinite": (with_piece("qq", float("-inf")), "the score -inf of 'qq'"),
    "two unknown": (with_piece("qq", 0.0, 2), "2 unknown pieces, not 1"),
    "byte": (with_piece("<0x41>", 0.0, BYTE), "byte pieces that do not agree with byte_fallback"),
    "bytes missing": (lambda m: setattr(m.trainer_spec, "byte_fallback", True), "byte pieces that do not agree"),
    "only control": (lambda m: [setattr(p, "type", CONTROL) for p in m.pieces if p.type == 1], "no normal pieces"),
    "charsmap": (
        lambda m: setattr(m.normalizer_spec, "precompiled_charsmap", b"\xff" * 9),
        "whose trie is said to take",
    ),
}


@pytest.mark.parametrize(("damage", "found"), DAMAGE.values(), ids=DAMAGE)
def test_a_model_that_sentencepiece_would_refuse_is_refused(damage, found):
    with pytest.raises(
        SourceError, match=f"^vocab.spm: expected a SentencePiece model, found .*{found}.*; fetch it again$"
    ):
        build_tokenizer(changed(trained("unigram"), damage))


def test_bytes_that_are_no_model_are_refused():
    for data in (b"", b"\x00", b"<!DOCTYPE html><html>", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f"):
        with pytest.raises(
            SourceError, match=r"^vocab.spm: expected a SentencePiece model, found [^\n]+; fetch it again$"
        ):
            build_tokenizer(data)


def test_everything_unsupported_is_named_in_one_message():
    def change(model):
        model.trainer_spec.model_type = 3
        model.normalizer_spec.escape_whitespaces = False
        model.denormalizer_spec.precompiled_charsmap = model.normalizer_spec.precompiled_charsmap
        model.normalizer_spec.precompiled_charsmap += b"a  b\0"
        model.pieces.add(piece="a b", type=USER_DEFINED)

    named = (
        "model_type=word, escape_whitespaces=false, a precompiled_charsmap that writes two spaces, denormalizer_spec, "
        "user_defined_symbols with white space"
    )
    with pytest.raises(UnsupportedError, match=f"^vocab.spm: edgekit does not implement {named}$"):
        build_tokenizer(changed(trained("unigram"), change))


@pytest.mark.parametrize("model_type", ["char", "word"])
def test_other_model_types_are_refused_by_name(model_type):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences("en")[:50]),
        model_writer=out,
        model_type=model_type,
        vocab_size=50,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    with pytest.raises(UnsupportedError, match=f"^vocab.spm: edgekit does not implement model_type={model_type}$"):
        build_tokenizer(out.getvalue())


def test_unused_pieces_of_a_bpe_model_are_refused():
    def change(model):
        model.pieces[10].type = 5

    with pytest.raises(UnsupportedError, match=r"does not implement unused pieces in a bpe model$"):
        build_tokenizer(changed(trained("bpe"), change))


@pytest.mark.parametrize(
    ("vocab", "found"),
    [
        ({}, "0 entries"),
        ({"<unk>": 1}, "other ids"),
        ({"<unk>": 0, "a": 0}, "other ids"),
        ({"<unk>": 0, "a": 10**12}, "other ids"),
        ({"<unk>": 0, "a": "1"}, "other ids"),
        ({"<unk>": 0, "a": True}, "other ids"),
        ({"a": 0}, "no <unk>, or an empty piece"),
        ({"<unk>": 0, "": 1}, "no <unk>, or an empty piece"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_by_file(vocab, found):
    spm, good = trained("unigram"), {"<unk>": 0}
    message = f"expected pieces with the ids 0, 1, 2 and so on, <unk> among them, found {found}; fetch it again$"
    with pytest.raises(SourceError, match=f"^vocab.json: {message}"):
        build_marian_tokenizers(spm, spm, vocab)
    with pytest.raises(SourceError, match=f"^target_vocab.json: {message}"):
        build_marian_tokenizers(spm, spm, good, vocab)
