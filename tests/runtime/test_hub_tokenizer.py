"""Ids are the tokenizers library's; user text never becomes a control token; damaged files are one line."""

import json
import random
import subprocess
import sys

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from edgekit.errors import BundleError, InputError
from edgekit.runtime import hub_tokenizer
from edgekit.runtime.byte_alphabet import BYTE_OF_CHARACTER
from edgekit.runtime.hub_tokenizer import MAX_CHARACTERS, HubTokenizer
from edgekit.runtime.token_bytes import read_decoder
from tests.runtime.causal_lm_bundles import CONTROL, TEXTS, TOKENIZERS, byte_level, unigram

TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(TEXTS)


def saved(tokenizer, directory):
    path = directory / "tokenizer.json"
    path.write_text(tokenizer if isinstance(tokenizer, str) else tokenizer.to_str(), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=TOKENIZERS)
def pair(request, tmp_path_factory):
    """One of each kind: ours, and the library's."""
    theirs = TOKENIZERS[request.param]()
    path = saved(theirs, tmp_path_factory.mktemp("tokenizer"))
    return HubTokenizer.load(path, theirs.get_vocab_size()), tokenizers.Tokenizer.from_file(str(path))


@given(TEXT)
@settings(max_examples=60, deadline=None)
def test_ids_are_the_librarys(pair, text):
    ours, theirs = pair
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_the_alphabet_of_bytes_is_gpt2s():
    assert sorted(BYTE_OF_CHARACTER.values()) == list(range(256))
    assert set(BYTE_OF_CHARACTER) == set(pre_tokenizers.ByteLevel.alphabet())
    assert BYTE_OF_CHARACTER["Ġ"] == ord(" ")
    assert BYTE_OF_CHARACTER["Ċ"] == ord("\n")


@pytest.fixture(scope="module")
def byte_tokenizer(tmp_path_factory):
    return HubTokenizer.load(saved(byte_level(), tmp_path_factory.mktemp("bytes")), 320)


@pytest.mark.parametrize("text", [*CONTROL, "a<|im_end|>b <|im_start|>", "<|im_end|>" * 30])
def test_the_spelling_of_a_control_token_is_text(byte_tokenizer, text):
    ids = byte_tokenizer.encode(text)
    assert not set(ids) & set(byte_tokenizer.control.values())
    assert b"".join(map(byte_tokenizer.token_bytes, ids)) == text.encode()


def test_added_tokens_that_are_no_control_tokens_are_found_in_text(tmp_path):
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    ours = HubTokenizer.load(saved(tokenizer, tmp_path), 400)
    assert ours.encode("a<think>")[-1] == tokenizer.token_to_id("<think>")
    assert ours.token_bytes(tokenizer.token_to_id("<think>")) == b"<think>"
    assert ours.control.keys() == set(CONTROL)


def test_ids_of_the_manifest_are_control_tokens_whatever_the_file_says(tmp_path):
    """An EOS that is an ordinary added token, one that is a plain entry of the vocabulary, and one that is neither."""
    tokenizer = byte_level()
    tokenizer.add_tokens(["<eos>"])
    eos, ing = map(tokenizer.token_to_id, ("<eos>", "ing"))
    assert tokenizer.encode("a<eos>").ids[-1] == eos
    ours = HubTokenizer.load(saved(tokenizer, tmp_path), 400, [eos, ing, 7000])
    assert eos not in ours.encode("a<eos> <eos>")
    assert ours.token_bytes(eos) is ours.token_bytes(ing) is None
    assert {"<eos>": eos, "ing": ing}.items() <= ours.control.items()
    assert ours.encode_rendered("a<eos>", "\ufdd0")[-1] == eos


def test_rendered_text_has_control_tokens_where_they_are_whole(byte_tokenizer):
    control = byte_tokenizer.control
    plain = byte_tokenizer.encode_rendered("<|im_start|>a<|im_end|>", "\ufdd0")
    assert plain == [control["<|im_start|>"], *byte_tokenizer.encode("a"), control["<|im_end|>"]]
    marked = byte_tokenizer.encode_rendered("<|im_start|><\ufdd0|im_end|><|im_end|>", "\ufdd0")
    assert marked == [control["<|im_start|>"], *byte_tokenizer.encode("<|im_end|>"), control["<|im_end|>"]]


def test_marks_interrupt_the_longest_spelling(byte_tokenizer):
    assert byte_tokenizer.interrupt_control("a <|im_end|>!", "*") == "a <*|im_end|>!"
    assert byte_tokenizer.interrupt_control("<|im_end|", "*") == "<|im_end|"


def test_padding_and_truncation_of_the_file_are_off(tmp_path):
    tokenizer = byte_level()
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(2)
    assert len(HubTokenizer.load(saved(tokenizer, tmp_path), 320).encode("one two three four")) > 2


def test_a_lone_surrogate_is_the_replacement_character(byte_tokenizer):
    assert byte_tokenizer.encode("a\ud83d!") == byte_tokenizer.encode("a\ufffd!")


@pytest.mark.parametrize("token_id", [-1, 320, 10**9, 10**30])
def test_ids_outside_the_vocabulary_have_no_text(byte_tokenizer, token_id):
    assert byte_tokenizer.token_bytes(token_id) is None


def test_the_vocabulary_is_held_once(tmp_path):
    """Two tokenizers share it: one that knows control tokens, one that doesn't."""
    ours = HubTokenizer.load(saved(byte_level(), tmp_path), 320)
    assert ours._with_control.model.__getstate__() == ours._tokenizer.model.__getstate__()
    assert ours._with_control.get_added_tokens_decoder() == ours._tokenizer.get_added_tokens_decoder()
    assert ours._with_control.encode("<|im_end|>").ids == [ours.control["<|im_end|>"]]


def test_added_tokens_behind_a_gap_keep_their_ids(tmp_path):
    data = json.loads(byte_level().to_str())
    data["added_tokens"].append({**data["added_tokens"][0], "id": 400, "content": "<late>"})
    ours = HubTokenizer.load(saved(json.dumps(data), tmp_path), 401)
    late = ours.control["<late>"]
    assert ours.encode_rendered("a<late>", "\ufdd0") == [*ours.encode("a"), late]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a text, found NoneType"),
        (b"a", "expected a text, found bytes"),
        ("a" * (MAX_CHARACTERS + 1), "expected a text of at most 1000000 characters, found 1000001; split it"),
    ],
)
def test_what_is_no_text_is_refused(byte_tokenizer, text, message):
    for encode in (byte_tokenizer.encode, lambda text: byte_tokenizer.encode_rendered(text, "\ufdd0")):
        with pytest.raises(InputError, match=message):
            encode(text)


def test_text_of_ids_that_the_model_has_not_is_refused(tmp_path):
    ours = HubTokenizer.load(saved(byte_level(), tmp_path), 260)
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected ids below the model's 260, found 3\d\d; export"):
        ours.encode("The children are playing")


DAMAGED = {
    "empty": "",
    "not JSON": "{",
    "a list": "[]",
    "no model": "{}",
    "an unknown model": '{"model": {"type": "Magic"}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_one_line(tmp_path, text):
    line = (
        r"^[^\n]*tokenizer\.json: expected a tokenizer\.json of the tokenizers library, found [^\n]+; export the model"
    )
    with pytest.raises(BundleError, match=line):
        HubTokenizer.load(saved(text, tmp_path), 100)


def test_a_missing_and_a_huge_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(BundleError, match=r"tokenizer\.json: cannot be read \(No such file or directory\)"):
        HubTokenizer.load(tmp_path / "tokenizer.json", 100)
    monkeypatch.setattr(hub_tokenizer, "MAX_FILE_BYTES", 10)
    with pytest.raises(BundleError, match=r"expected a tokenizer\.json of at most 10 bytes, found more"):
        HubTokenizer.load(saved(byte_level(), tmp_path), 100)


@pytest.mark.parametrize("seed", range(40))
def test_files_with_random_damage_load_or_are_one_line(tmp_path, seed):
    rng = random.Random(seed)
    data = bytearray(unigram().to_str().encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data))
        data[place : place + rng.randint(0, 3)] = bytes(rng.choices(b'0"{}[],:a\xff', k=rng.randint(0, 3)))
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    message = ""
    try:
        HubTokenizer.load(path, 500).encode(TEXTS[0])
    except BundleError as error:
        message = str(error)
    assert "\n" not in message


def test_a_panic_of_the_library_is_one_line(tmp_path):
    """A charsmap of garbage makes tokenizers' normaliser panic; in a process, since Rust prints where."""
    tokenizer = unigram()
    data = json.loads(tokenizer.to_str())
    data["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAAAAA="}
    path = saved(json.dumps(data), tmp_path)
    code = f"""
from pathlib import Path
from edgekit.errors import BundleError
from edgekit.runtime.hub_tokenizer import HubTokenizer
try:
    HubTokenizer.load(Path({str(path)!r}), 500).encode("Größe \\u0344 ")
except BundleError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "tokenizer.json: expected a tokenizer that takes any text, found index out of bounds" in done.stdout


@pytest.mark.parametrize(
    ("decoder", "found"),
    [
        (None, "no decoder"),
        (decoders.WordPiece(), "a decoder of type 'WordPiece', not made of ByteLevel, Metaspace, Replace"),
        (decoders.Sequence([decoders.CTC()]), "a decoder of type 'CTC'"),
        (decoders.Strip(" ", 1, 0), "a decoder that strips each token"),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)]), "a decoder that strips a text's end"),
        (decoders.Replace("ab", "c"), "a decoder that replaces more than one character"),
        (decoders.Replace(tokenizers.Regex("a+"), "c"), "a decoder that replaces more than one character"),
    ],
)
def test_decoders_whose_tokens_have_no_bytes_are_refused(tmp_path, decoder, found):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if decoder is not None:
        tokenizer.decoder = decoder
    with pytest.raises(BundleError, match=f"expected a tokenizer.json of the tokenizers library, found {found}"):
        HubTokenizer.load(saved(tokenizer, tmp_path), 100)


@pytest.mark.parametrize("spec", [None, 5, "ByteLevel", {}, {"type": "Sequence", "decoders": 5}, {"type": []}])
def test_a_decoder_of_another_form_is_refused(spec):
    with pytest.raises((ValueError, TypeError, KeyError)):
        read_decoder(spec)
