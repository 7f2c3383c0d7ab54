"""What must come out of a translation as it went in."""

import re

import pytest

import edgekit
from edgekit.errors import InputError
from edgekit.runtime.protection import SPANS, translate_protected

KEPT = [
    "https://www.example.org/docs/index.html?id=42&lang=en",
    "www.example.org/a",
    "j.doe+test@mail.example.org",
    "{name}",
    "{0}",
    "${HOME}",
    "{{ user.name }}",
    "%s",
    "%(count)d",
    "%1$s",
    "<b>",
    "</a>",
    "`git status`",
]


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return edgekit.load(embedded_int8)


@pytest.mark.parametrize("span", KEPT)
def test_a_span_is_found_whole_and_nothing_else(span):
    assert SPANS.findall(f"Please see {span}, now.") == [span]


@pytest.mark.parametrize("text", ["5 % of 10%", "a < b", "it's 50% sure", "a@b", "mr. {", "www. is", "100%."])
def test_ordinary_text_has_no_span(text):
    assert SPANS.search(text) is None


def test_the_embedded_model_keeps_every_span(translator):
    texts = [frame.format(span) for span in KEPT for frame in ("Please see {} for details.", "{} was not found.")]
    found = translator.translate(texts)
    assert [
        span for span, text in zip([span for span in KEPT for _ in range(2)], found, strict=True) if span not in text
    ] == []
    assert found[0].startswith("Bitte")
    assert any(KEPT[0] not in text for text in translator.translate(texts[:2], protect=False))


def test_a_text_without_a_span_is_translated_as_ever(translator):
    texts = ["Good morning!", "Where is Tom?"]
    assert translator.translate(texts) == translator.translate(texts, protect=False)


def test_a_text_that_is_nothing_but_spans_stays(translator):
    assert translator.translate("{name}: %s") == "{name}: %s"


def test_words_that_do_not_come_back_are_tried_otherwise_then_translated_between():
    asked = []

    def translate(sentences):
        """Loses XX1 always, QX1 where it follows 'lose'."""
        asked.append(sentences)
        return [re.sub(r"XX\d|(?<=lose )QX\d", "?", text).upper() for text in sentences]

    assert translate_protected(["see {a} now", "plain", "lose {b} now"], translate) == [
        "SEE {a} NOW",
        "PLAIN",
        "LOSE {b} NOW",
    ]
    assert asked == [["see XX1 now", "plain", "lose XX1 now"], ["see QX1 now", "lose QX1 now"], ["lose"], ["now"]]


def test_words_that_come_back_twice_or_in_another_order_are_noticed():
    assert translate_protected(["{a} then {b}"], lambda texts: ["XX2, XX1" for _ in texts]) == ["{b}, {a}"]
    twice = translate_protected(
        ["{a} then {b}"], lambda texts: ["x" if text == "then" else "XX1 XX1 XX2" for text in texts]
    )
    assert twice == ["{a} x {b}"]


def test_a_text_that_has_the_words_already_is_not_confused():
    found = translate_protected(["XX1 and {A}"], lambda texts: [text.lower() for text in texts])
    assert found == ["xx1 and {A}"]


def test_a_number_that_is_lost_is_tried_again():
    def translate(sentences):
        return [re.sub(r"\d{2,}", "viele", text) for text in sentences]

    assert translate_protected(["It cost 1,234.56 dollars, 5 of them."], translate) == [
        "It cost 1,234.56 dollars, 5 of them."
    ]
    localised = translate_protected(["It cost 1,234.56 dollars."], lambda texts: ["Es kostete 1.234,56 Dollar."])
    assert localised == ["Es kostete 1.234,56 Dollar."]


def test_another_pattern_can_be_given(translator):
    found = translator.translate("Please see Tom Jones for {name}.", protect=re.compile("Tom Jones"))
    assert "Tom Jones" in found
    with pytest.raises(InputError, match="protect must be True, False or a compiled pattern, found 'Tom'"):
        translator.translate("Yes.", protect="Tom")


@pytest.mark.parametrize(
    "unit", ["a", "a.", "`", "%1", "%(a", "{", "{{", "<a", "http://", "www.", "@a", "a@", "1.", "-", "."]
)
def test_a_row_of_anything_is_searched_in_linear_time(unit):
    text = unit * 300_000  # in the square of this it would take hours
    assert sum(len(match[0]) for match in SPANS.finditer(text)) <= len(text)
