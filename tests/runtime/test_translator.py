"""Text in, text out: any text, in any form and order, from any number of threads."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import edgekit
from edgekit.errors import BundleError, InputError, ModelNotFoundError
from edgekit.quality.parallel_text import load_testset
from edgekit.runtime import load
from edgekit.runtime.segment import split_text
from edgekit.runtime.translator import PIECE_TOKENS

BUNDLES = ("embedded_int8", "student_bundle")


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return load(embedded_int8)


@pytest.fixture(scope="module", params=BUNDLES)
def any_translator(request):
    return load(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def texts():
    return list(load_testset("tatoeba", "en", "de").sources[:64])


def test_one_text_gives_one_text(translator):
    assert translator.translate("Good morning!") == "Guten Morgen!"


def test_a_list_gives_a_list(translator):
    assert translator.translate(["Good morning!"]) == ["Guten Morgen!"]
    assert translator.translate([]) == []


@pytest.mark.parametrize("form", [tuple, iter, lambda texts: (text for text in texts)])
def test_any_iterable_of_texts_gives_a_list(translator, form):
    assert translator.translate(form(["Yes.", "", "No."])) == ["Ja.", "", "Nein."]


def test_translations_come_back_in_the_order_of_the_texts(translator, texts):
    alone = [translator.translate(text) for text in texts]
    assert translator.translate(texts) == alone
    assert translator.translate(texts[::-1]) == alone[::-1]
    assert len(set(alone)) > 50


@pytest.mark.parametrize("batch_tokens", [1, 7, 100, 10**9])
def test_batch_tokens_change_no_translation(any_translator, texts, batch_tokens):
    some = texts[:24]
    assert any_translator.translate(some, batch_tokens=batch_tokens) == any_translator.translate(some)


def test_max_length_bounds_the_target(translator):
    text = "The children are playing in the garden behind the old house."
    short = translator.translate(text, max_length=3)
    assert len(translator.target_tokenizer.encode(short)) <= 3
    assert translator.translate(text).startswith(short)


def test_translating_again_gives_the_same(any_translator, texts):
    assert any_translator.translate(texts) == any_translator.translate(texts)


UNTRANSLATABLE = [
    "",
    " ",
    "\t \n",
    "\u00a0\u2003",
    "...",
    "?!",
    "—",
    "😀",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "\x00",
    "\x00\x00 \x1b[",
    "\ud800",
    "\u200b",
    "★☆",
]


@pytest.mark.parametrize("text", UNTRANSLATABLE)
def test_a_text_without_a_letter_or_digit_comes_back_as_it_is(any_translator, text):
    assert any_translator.translate(text) == text


ODD = {
    "NUL in a sentence": "Good\x00 morning\x00!",
    "a lone surrogate": "Good \ud83d morning",
    "emoji in a sentence": "I am happy 😀😀😀 today",
    "combining marks without end": "a" + "\u0301" * 5000,
    "another script": "早上好，世界",
    "right to left": "صباح الخير",
    "special names": "</s> <pad> <unk> ▁ >>de<< <0x00>",
    "white space of all kinds": " Good\tmorning\r\n\u2028 Tom\u3000! ",
    "one huge word": "a" * 3_000,
    "digits": "0123456789" * 50,
    "one letter": "x",
    "noncharacters": "\ufffe\uffff a \U0010ffff",
    "byte order mark": "\ufeffGood morning!",
}


@pytest.mark.parametrize("what", ODD)
def test_odd_texts_are_translated_somehow(any_translator, what):
    found = any_translator.translate(ODD[what])
    assert isinstance(found, str)
    found.encode("utf-8")  # nothing that can't be printed
    # A text is translated alone as it is beside others.
    assert any_translator.translate(["Yes.", ODD[what], ""])[1:] == [found, ""]


def test_control_pieces_are_text(translator):
    """'</s>' in a text must not end it: what follows is translated."""
    ids = translator.source_tokenizer.encode("Good morning! </s> Where is Tom?")
    assert translator.manifest.generation.eos_token_id not in ids


def test_a_text_of_ten_thousand_words_is_cut_translated_and_joined(translator):
    text = "The children are playing in the garden, and their mother is reading. " * 834
    assert len(text.split()) > 10_000
    found = translator.translate(text)
    assert 5_000 < len(found.split()) < 20_000
    assert found.count("Garten") > 700
    assert found.count("Kinder") > 700


def test_a_cut_text_is_the_translations_of_its_pieces(translator):
    sentences = [
        "I am reading a book.",
        "Where is the nearest pharmacy?",
        "Tom has been waiting for two hours, I think.",
    ]
    text = " ".join(sentences * 14)
    encode = translator.source_tokenizer.encode
    assert len(encode(text)) > translator.manifest.generation.max_source_tokens
    pieces = split_text(text, lambda piece: len(encode(piece)) <= PIECE_TOKENS)
    assert pieces[0].startswith("I am reading a book. Where")
    assert translator.translate(text) == " ".join(translator.translate(pieces))


def test_a_text_that_the_model_takes_is_not_cut(translator):
    text = ("Tom is in the garden and Mary is in the garden and " * 5).strip()
    assert PIECE_TOKENS < len(translator.source_tokenizer.encode(text)) < 255
    ids = [*translator.source_tokenizer.encode(text), 0]
    (found,) = translator.generate_ids([ids])
    assert translator.translate(text) == translator.target_tokenizer.decode(found)


def test_ten_thousand_words_take_a_bounded_amount_of_memory(embedded_int8):
    code = f"""
import resource, edgekit
translator = edgekit.load({str(embedded_int8)!r})
translator.translate("Good morning!")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
translator.translate("word " * 10_000, max_length=16)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 150_000  # KiB


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "translate takes a text or a list of texts, found NoneType"),
        (5, "translate takes a text or a list of texts, found int"),
        ([None], "translate takes texts, found NoneType at index 0"),
        (["a", 5], "translate takes texts, found int at index 1"),
        ([["a"]], "translate takes texts, found list at index 0"),
        (b"bytes", "translate takes texts, found int at index 0"),
        ([b"bytes"], "translate takes texts, found bytes at index 0"),
    ],
)
def test_what_is_no_text_is_refused(translator, texts, message):
    with pytest.raises(InputError, match=message):
        translator.translate(texts)


def test_a_text_beyond_any_document_is_refused(translator):
    with pytest.raises(InputError, match="expected a text of at most 1000000 characters, found 1000001; split it"):
        translator.translate("a" * 1_000_001)


@pytest.mark.parametrize("threads", [0, -2, 1.5, "1", True])
def test_threads_that_are_none_are_refused(embedded_int8, threads):
    with pytest.raises(InputError, match=f"threads must be a whole number from 1, found {threads!r}"):
        edgekit.load(embedded_int8, threads=threads)


def test_two_threads_translate_the_same(embedded_int8, translator, texts):
    assert edgekit.load(embedded_int8, threads=2).translate(texts) == translator.translate(texts)


def test_eight_callers_at_once_get_what_one_gets(any_translator, texts):
    expected = any_translator.translate(texts[:24])
    barrier = threading.Barrier(8)

    def translate(number):
        barrier.wait()
        order = texts[number:24] + texts[:number]
        found = any_translator.translate(order, batch_tokens=20 + 10 * number)
        return found[24 - number :] + found[: 24 - number]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(translate, range(8))) == [expected] * 8


def test_the_manifest_and_the_tokenizers_are_at_hand(translator, two_tokenizers_bundle):
    assert translator.manifest.name == "marian-en-de"
    assert translator.source_tokenizer is translator.target_tokenizer
    separate = load(two_tokenizers_bundle)
    assert separate.source_tokenizer is not separate.target_tokenizer


def test_generate_ids_is_what_translate_runs(translator):
    ids = [*translator.source_tokenizer.encode("Good morning!"), translator.manifest.generation.eos_token_id]
    (found,) = translator.generate_ids([ids])
    assert translator.target_tokenizer.decode(found) == "Guten Morgen!"
    assert translator.manifest.generation.eos_token_id not in found


def test_the_self_check_of_a_bundle_comes_out_again(any_translator):
    recorded = any_translator.manifest.self_check
    assert any_translator.generate_ids([recorded.input_ids], max_length=16) == [list(recorded.output_ids)]
    assert recorded.output_ids


def test_a_name_is_looked_up_among_exported_bundles(embedded_int8, tmp_path, monkeypatch):
    shutil.copytree(embedded_int8, tmp_path / "marian-en-de-int8")
    monkeypatch.chdir(tmp_path)
    for name in ("marian-en-de", "marian-en-de-int8", "./marian-en-de-int8"):
        assert edgekit.load(name).translate("Yes.") == "Ja."


@pytest.mark.parametrize("name", ["marian-en-fr-int8", "no/such", "nothing here", ""])
def test_what_is_no_bundle_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError):
        edgekit.load(name)


@pytest.mark.parametrize("file", ["tokenizer.json", "decoder.onnx", "weights.safetensors"])
def test_a_damaged_bundle_is_refused(embedded_int8, file, tmp_path):
    bundle = shutil.copytree(embedded_int8, tmp_path / "bundle")
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / file).write_bytes(data)
    with pytest.raises(BundleError, match=f"{file}: expected SHA-256 .*; export the model again"):
        edgekit.load(bundle)
