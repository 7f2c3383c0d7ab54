"""Texts of several sentences and lines: where they are cut, and that all else stays where it is."""

import pytest

import edgekit
from edgekit.errors import InputError
from edgekit.runtime.documents import Part, line_splitter, split_document
from edgekit.runtime.sentences import sentence_starts
from edgekit.runtime.translator import PIECE_TOKENS


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return edgekit.load(embedded_int8)


def cut(line, language="en"):
    starts = sentence_starts(line, language)
    return [line[start:end] for start, end in zip(starts, [*starts[1:], len(line)], strict=True)]


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("Good morning.", ["Good morning."]),
        ("Good morning. How are you?", ["Good morning. ", "How are you?"]),
        ("No! Really?! Yes... Fine.", ["No! ", "Really?! ", "Yes... ", "Fine."]),
        ('"Stop." "Why?" (He left.) She stayed.', ['"Stop." ', '"Why?" ', "(He left.) ", "She stayed."]),
        ("Mr. Smith met Dr. Jones. They left.", ["Mr. Smith met Dr. Jones. ", "They left."]),
        ("J. R. R. Tolkien wrote. I read.", ["J. R. R. Tolkien wrote. ", "I read."]),
        ("So did I. He agreed.", ["So did I. ", "He agreed."]),
        (
            "It cost 3.50 dollars. See www.example.org. Bye.",
            ["It cost 3.50 dollars. ", "See www.example.org. ", "Bye."],
        ),
        ("He is 21. She is 20.", ["He is 21. ", "She is 20."]),
        ("See No. 5. I said no. He went.", ["See No. 5. ", "I said no. ", "He went."]),
        ("e.g. this, i.e. that. Done.", ["e.g. this, i.e. that. ", "Done."]),
        ("one. two", ["one. two"]),
        ("He came at 5 p.m. and left.", ["He came at 5 p.m. and left."]),
        ("早上好。你好吗？很好！", ["早上好。", "你好吗？", "很好！"]),
        ("¿Qué? ¡No! Sí.", ["¿Qué? ", "¡No! ", "Sí."]),
        ("...", ["..."]),
        ("", [""]),
    ],
)
def test_sentences_begin_behind_a_terminator_and_space(line, sentences):
    assert cut(line) == sentences


def test_a_number_with_a_full_stop_is_an_ordinal_where_the_language_writes_it_so():
    assert cut("Am 3. Oktober kam er. Er blieb.", "de") == ["Am 3. Oktober kam er. ", "Er blieb."]
    assert cut("Es war 2010. Er blieb.", "de") == ["Es war 2010. ", "Er blieb."]
    assert cut("Chapter 3. October came.", "en") == ["Chapter 3. ", "October came."]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" Ab.\n\nCd. Ef.\n", [" ", "*Ab.", "\n\n", "*Cd.", " ", "*Ef.", "\n"]),
        ("\tindented\r\n    more", ["\t", "*indented", "\r\n    ", "*more"]),
        ("Title\n-----\n* one\n* two 😀", ["*Title", "\n-----\n", "** one", "\n", "** two 😀"]),
        ("\n\n \n", ["\n\n \n"]),
        ("a\u2028b\x0cc", ["*a", "\u2028", "*b", "\x0c", "*c"]),
    ],
)
def test_parts_are_sentences_and_what_is_between_them(text, parts):
    found = split_document(text, line_splitter("en"))
    assert found == [Part(part.removeprefix("*"), True) if part[0] == "*" else Part(part, False) for part in parts]
    assert "".join(part.text for part in found) == text


def test_a_long_line_of_many_sentences_is_cut_in_linear_time():
    line = "A sentence of some words. " * 40_000
    assert len(sentence_starts(line, "en")) == 40_000


def test_line_breaks_blank_lines_and_indentation_stay(translator):
    text = "Good morning!\n\n    Where is Tom?  I am here.\r\n---\n\tYes.\n"
    morning, where, here, yes = translator.translate(["Good morning!", "Where is Tom?", "I am here.", "Yes."])
    assert translator.translate(text) == f"{morning}\n\n    {where}  {here}\r\n---\n\t{yes}\n"
    ranked = translator.n_best(text, 2)
    assert [hypothesis.text.splitlines()[1:4:2] for hypothesis in ranked] == [["", "---"]] * 2
    scores = [translator.n_best(one, 2)[0].score for one in ("Good morning!", "Where is Tom?", "I am here.", "Yes.")]
    assert ranked[0].score == pytest.approx(sum(scores) / 4, abs=1e-5)


def test_a_text_is_translated_as_one_where_that_is_asked(translator):
    text = "Good morning! Where is Tom?"
    assert translator.translate(text) == "{} {}".format(*translator.translate(["Good morning!", "Where is Tom?"]))
    ids = [*translator.source_tokenizer.encode(text), translator.manifest.generation.eos_token_id]
    (found,) = translator.generate_ids([ids])
    assert translator.translate(text, split=False) == translator.target_tokenizer.decode(found)


def test_another_splitter_can_be_given(translator):
    calls = []

    def split(line):
        calls.append(line)
        return line.partition(" Where")[::2]

    with pytest.raises(InputError, match="split must cut a line into sentences that together are the line, found"):
        translator.translate("Yes. Where is Tom?", split=split)
    found = translator.translate("Yes.\n\nYes. No.", split=lambda line: line.split())
    assert found == "Ja.\n\nJa. Nein."
    assert calls == ["Yes. Where is Tom?"]
    with pytest.raises(InputError, match="split must be True, False or a function from a line to sentences, found 'a'"):
        translator.translate("Yes.", split="a")


def test_a_sentence_that_is_too_long_is_cut_and_its_neighbours_are_not(translator):
    endless = "and the garden, " * 200
    found = translator.translate(f"Yes. {endless.strip()} end.\nNo.", max_length=8)
    assert found.startswith("Ja. ")
    assert found.endswith("\nNein.")
    encode = translator.source_tokenizer.encode
    assert len(found.split(" ")) > len(encode(endless)) / PIECE_TOKENS


def test_an_iterator_is_translated_in_order_and_no_further_than_its_window(translator):
    texts = [f"Tom is {number}." for number in range(10)]
    asked = []

    def lines():
        for text in texts:
            asked.append(text)
            yield text

    running = translator.translate_iter(lines(), window=4)
    assert asked == []
    expected = translator.translate(texts)
    assert next(running) == expected[0]
    assert asked == texts[:4]
    assert list(running) == expected[1:]
    assert list(translator.translate_iter([])) == []


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("a text", {}, "translate_iter takes an iterable of texts, found str"),
        (5, {}, "translate_iter takes an iterable of texts, found int"),
        (["a"], {"window": 0}, "window must be a whole number from 1, found 0"),
        (["a"], {"beams": 0}, "beams must be a whole number from 1, found 0"),
    ],
)
def test_what_can_not_be_iterated_is_refused_at_once(translator, texts, options, message):
    with pytest.raises(InputError, match=message):
        translator.translate_iter(texts, **options)


@pytest.mark.parametrize("language", ["source_language", "target_language"])
def test_a_language_that_the_model_does_not_have_is_refused(translator, language):
    with pytest.raises(InputError, match=r"this model has no .* language 'fr'"):
        translator.translate("Yes.", **{language: "fr"})
    with pytest.raises(InputError, match=f"{language} must be a language's code, found 5"):
        translator.translate("Yes.", **{language: 5})
    assert translator.translate("Yes.", source_language="en", target_language="de") == "Ja."


@pytest.mark.parametrize("row", ["!", "…", ".)", ")", "。", "! ", ". ", "a."])
def test_a_row_of_marks_is_cut_in_linear_time(row):
    line = row * 300_000  # in the square of this it would take hours
    assert sentence_starts(line, "en")[0] == 0
