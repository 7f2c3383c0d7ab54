"""Ids and text against SentencePiece itself; what a damaged file and odd texts get."""

import concurrent.futures
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BundleError, InputError
from edgekit.export.tokenizer import build_tokenizer
from edgekit.runtime.tokenizer import MAX_CHARACTERS, Tokenizer
from tests.damage import damaged_copies, refusals
from tests.export.tokenizer.spm_models import (
    MARIAN,
    ODD_TEXTS,
    SYMBOLS,
    TRAINED,
    both,
    changed,
    load,
    sentences,
    trained,
)

UNUSED = 5


def set_unused(model):
    """Marks every seventh normal piece, single characters among them."""
    for piece in [piece for piece in model.pieces if piece.type == 1][::7]:
        piece.type = UNUSED


MODELS = {
    "marian-en-de": lambda: (MARIAN / "source.spm").read_bytes(),
    **{name: (lambda name=name: trained(name)) for name in TRAINED},
    "unigram-unused": lambda: changed(trained("unigram-bytes"), set_unused),
}


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    return both(MODELS[request.param](), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return both(trained("unigram"), tmp_path_factory.mktemp("unigram"))[0]


@pytest.mark.parametrize("language", ["en", "de", "pt"])
def test_ids_and_decoded_text_equal_sentencepiece_on_2000_real_sentences(pair, language):
    ours, theirs = pair
    texts = sentences(language)
    assert len(texts) == 2000
    expected = theirs.encode(texts)
    assert ours.encode_batch(texts) == expected
    assert [ours.decode(ids) for ids in expected] == theirs.decode(expected)


def test_ids_and_decoded_text_equal_sentencepiece_on_odd_texts(pair):
    ours, theirs = pair
    expected = theirs.encode(ODD_TEXTS)
    assert [ours.encode(text) for text in ODD_TEXTS] == expected
    assert [ours.decode(ids) for ids in expected] == theirs.decode(expected)


# Code points that rules, graphemes and white space are made of, and what the models hold as symbols and control pieces.
FRAGMENTS = [*"abeTomx.,!- \t\n▁@<>/0é€öß", *SYMBOLS, *(text for text in ODD_TEXTS if 0 < len(text) < 12)]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS),
        st.sampled_from(FRAGMENTS).flatmap(lambda text: st.integers(2, 9).map(lambda count: text * count)),
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(range(0, 2000, 7)).map(lambda index: sentences("de")[index][:60]),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_ids_equal_sentencepiece_on_any_text(pair, text):
    ours, theirs = pair
    assert ours.encode(text) == theirs.encode(text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_decoded_text_equals_sentencepiece_for_any_ids(pair, data):
    ours, theirs = pair
    ids = data.draw(st.lists(st.integers(0, theirs.get_piece_size() - 1), max_size=12))
    assert ours.decode(ids) == theirs.decode(ids)


def test_equal_scores_are_decided_as_by_float32_wherever_the_word_stands(tmp_path):
    """55+5 and 5+55 are the same sum; how what comes before rounds decides."""
    ours, theirs = both((MARIAN / "source.spm").read_bytes(), tmp_path)
    texts = [f"{'the ' * n}{unit * count}" for unit in ("5", ".", "W", "lol") for n in range(12) for count in range(40)]
    assert ours.encode_batch(texts) == theirs.encode(texts)
    assert len({tuple(ours.encode("the " * n + "555555")[n:]) for n in range(12)}) == 2


@pytest.mark.parametrize("joint", ["", " "])
def test_ids_equal_sentencepiece_on_a_text_of_10000_words(pair, joint):
    """Sums of that length lose digits: SentencePiece begins again at 0 below -100,000."""
    ours, theirs = pair
    text = joint.join(sentences("de")[:500] + ["!!!!!!!!", "111111", "WWWWWW"] * 100)
    assert ours.encode(text) == theirs.encode(text)


def test_names_of_control_and_byte_pieces_are_ordinary_text(pair):
    ours, theirs = pair
    reserved = {i for i in range(theirs.get_piece_size()) if theirs.is_control(i)}
    assert reserved
    names = [theirs.id_to_piece(index) for index in sorted(reserved)]
    assert not reserved & set(ours.encode("".join(names)) + ours.encode(" ".join(names)))


def test_a_piece_with_a_space_is_never_found_but_decodes(tmp_path):
    """White space is ▁ in normalised text."""
    spm = changed(trained("unigram"), lambda model: model.pieces.add(piece=" a", score=-1.0, type=1))
    ours, theirs = both(spm, tmp_path)
    assert ours.encode("b a") == theirs.encode("b a")
    assert ours.decode([700, 700]) == theirs.decode([700, 700]) == " a a"


def test_byte_fallback_decodes_what_it_encodes(tmp_path):
    ours, _ = both(trained("unigram-bytes"), tmp_path)
    assert ours.decode(ours.encode("中 😀 <0x41>")) == "中 😀 <0x41>"


def test_text_that_is_no_unicode_gets_the_replacement_character(tokenizer):
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")


def test_whitespace_alone_has_no_ids(tokenizer):
    assert tokenizer.encode_batch(["", " ", "\t\n", "\u3000"]) == [[], [], [], []]


def test_ids_from_the_vocabulary_size_on_are_unknown(tmp_path):
    text = build_tokenizer(trained("unigram"))
    whole = load(text, tmp_path / "tokenizer.json")
    small = load(text, tmp_path / "tokenizer.json", size=100, unk_id=7)
    ids = whole.encode(sentences("en")[0])
    assert max(ids) >= 100
    assert small.encode(sentences("en")[0]) == [
        7 if index >= 100 or index == whole.unk_token_id else index for index in ids
    ]


def test_ids_outside_the_vocabulary_decode_as_unknown(tokenizer):
    assert tokenizer.decode([-1, 10**9]) == " ⁇  ⁇ "


def test_a_text_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(tokenizer):
    assert len(tokenizer.encode("word " * 20_000)) >= 20_000
    message = f"^expected a text of at most {MAX_CHARACTERS} characters, found {MAX_CHARACTERS + 1}; split it$"
    with pytest.raises(InputError, match=message):
        tokenizer.encode("a" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (b"a", "bytes"), (["a"], "list")])
def test_what_is_no_text_is_refused(tokenizer, value, kind):
    with pytest.raises(InputError, match=f"^expected a text, found {kind}$"):
        tokenizer.encode(value)


def test_a_panic_of_the_tokenizers_library_is_an_input_error(tmp_path):
    ours, _ = both(trained("bpe"), tmp_path)
    panic = type("PanicException", (BaseException,), {})

    class Panicking:
        def encode(self, text, add_special_tokens):
            raise panic("index out of bounds")

    ours._segmenter._tokenizer = Panicking()
    with pytest.raises(InputError, match=r"^a text of 3 characters made the tokenizer fail; change the text$"):
        ours.encode("ab")
    panic.__name__ = "KeyboardInterrupt"
    with pytest.raises(BaseException, match="index out of bounds"):
        ours.encode("ab")


def test_threads_share_a_tokenizer(pair):
    ours, theirs = pair
    texts = sentences("de")[:300]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ours.encode_batch, [texts] * 4))
    assert results == [theirs.encode(texts)] * 4


# One change each to a good tokenizer.json, and what the error says was found.
DAMAGE = {
    "no model": (lambda d: d.pop("model"), "no 'model'"),
    "other model": (lambda d: d["model"].update(type="WordPiece"), "a model of type 'WordPiece', not Unigram or BPE"),
    "not from edgekit": (lambda d: d["model"].pop("sentencepiece"), "no 'sentencepiece'"),
    "no vocab": (lambda d: d["model"].update(vocab=[]), "an empty vocab, or"),
    "vocab of texts": (lambda d: d["model"].update(vocab=["a"]), "a vocab whose entries are not pairs"),
    "piece twice": (lambda d: d["model"]["vocab"].append(d["model"]["vocab"][-1]), "one piece twice"),
    "piece of another type": (lambda d: d["model"]["vocab"].append([5, 0.0]), "vocab that are not all texts"),
    "long piece": (lambda d: d["model"]["vocab"].append(["a" * 257, 0.0]), "a piece of more than 256 characters"),
    "score not a number": (lambda d: d["model"]["vocab"].append(["q", float("nan")]), "a score that is not a number"),
    "score of another type": (lambda d: d["model"]["vocab"].append(["q", "0"]), "a score that is not a number"),
    "unknown id": (lambda d: d["model"].update(unk_id=10**9), "unk_id and size that are not ids from 0 to 699"),
    "no unknown id": (lambda d: d["model"].update(unk_id=None), "unk_id of type NoneType, not int"),
    "size": (lambda d: d["model"]["sentencepiece"].update(size=-5), "unk_id and size that are not ids"),
    "control": (lambda d: d["model"]["sentencepiece"].update(control=[True]), "control that are not ids from 0 to 699"),
    "codes": (lambda d: d["model"]["sentencepiece"].update(language_codes={"a": -1}), "language_codes that are not"),
    "flag": (
        lambda d: d["model"]["sentencepiece"].update(add_dummy_prefix=1),
        "add_dummy_prefix of type int, not bool",
    ),
    "bytes": (lambda d: d["model"].update(byte_fallback=True), "byte_fallback without a piece for each byte"),
    "normalizer": (lambda d: d.update(normalizer=None), "normalizer of type NoneType, not dict"),
    "base64": (
        lambda d: d["normalizer"]["normalizers"][0].update(precompiled_charsmap="%"),
        "Only base64 data|Incorrect",
    ),
    "charsmap": (
        lambda d: d["normalizer"]["normalizers"][0].update(precompiled_charsmap="AAAA"),
        "a charsmap of 3 bytes",
    ),
    "list": (lambda d: d["model"].update(sentencepiece=[]), "sentencepiece of type list, not dict"),
}
BPE_DAMAGE = {
    "ids": (lambda d: d["model"]["vocab"].update(q=9999), "vocab that are not ids from 0 to 699"),
    "id twice": (lambda d: d["model"]["vocab"].update(q=0), "a vocab whose ids are not 0, 1, 2 and so on"),
    "unknown": (lambda d: d["model"].update(unk_token="<q>"), "an unk_token that is not in the vocab, '<q>'"),
    "merge": (lambda d: d["model"]["merges"].append(["a"]), "a merge that is not a pair of pieces"),
    "merged piece": (lambda d: d["model"]["merges"].append(["a", "\x00"]), "out of vocabulary"),
}


@pytest.mark.parametrize(
    ("model", "damage", "found"),
    [("unigram", *case) for case in DAMAGE.values()] + [("bpe", *case) for case in BPE_DAMAGE.values()],
    ids=[*DAMAGE, *BPE_DAMAGE],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, model, damage, found):
    document = json.loads(build_tokenizer(trained(model)))
    damage(document)
    with pytest.raises(
        BundleError, match=f"tokenizer.json: expected a tokenizer.json from edgekit, found .*(?:{found})"
    ) as error:
        load(json.dumps(document), tmp_path / "tokenizer.json", size=700)
    assert str(error.value).endswith("; export the model again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000, b'{"model": {"type": NaN}}'])
def test_what_is_no_tokenizer_json_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(
        BundleError, match=r"^[^\n]*expected a tokenizer.json from edgekit, found [^\n]+; export the model again$"
    ):
        Tokenizer.load(path, 10)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(BundleError, match=r"tokenizer.json: cannot be read \(No such file or directory\); export"):
        Tokenizer.load(tmp_path / "tokenizer.json", 10)


def test_a_file_too_large_to_be_one_is_refused_unread(tmp_path):
    path = tmp_path / "tokenizer.json"
    with open(path, "wb") as file:
        file.truncate(2**30)
    with pytest.raises(BundleError, match="found more than 134217728 bytes"):
        Tokenizer.load(path, 10)


@pytest.mark.parametrize("model", ["unigram", "bpe-bytes"])
def test_changed_bytes_are_refused_or_make_a_tokenizer_that_works(tmp_path, model):
    def read(path):
        tokenizer = Tokenizer.load(path, 700)
        texts = random.Random(0).sample(ODD_TEXTS, 10)
        assert all(isinstance(tokenizer.decode(ids), str) for ids in tokenizer.encode_batch(texts))

    copies = damaged_copies(build_tokenizer(trained(model)).encode(), 40)
    assert refusals(read, tmp_path / "tokenizer.json", copies)
