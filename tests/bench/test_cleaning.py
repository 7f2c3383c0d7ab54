import pytest

from edgekit.bench.cleaning import clean_answer


def clean(answer, asked="The dog sleeps.", language="German", single_line=True):
    return clean_answer(answer, asked, language, single_line=single_line)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" Der Hund schläft.\n", "Der Hund schläft."),
        ("Der Hund.\nEnglish: The cat.", "Der Hund."),
        ("\n\nDer Hund.", "Der Hund."),
        ("Here is the translation:\n\nDer Hund.", "Der Hund."),
        ("Der Hund sagt:", "Der Hund sagt:"),
        ("German: Der Hund.", "Der Hund."),
        ("Translation : Der Hund.", "Der Hund."),
        ("Germanen: Der Hund.", "Germanen: Der Hund."),
        ('"Der Hund."', "Der Hund."),
        ("„Der Hund.“", "Der Hund."),
        ('German: "Der Hund."', "Der Hund."),
        ('"Ja" und "Nein"', '"Ja" und "Nein"'),
        ('"', '"'),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_rules_are_applied_in_order(answer, expected):
    assert clean(answer) == expected


def test_quotes_stay_where_the_input_has_them():
    assert clean('"Der Hund."', asked=' "The dog." ') == '"Der Hund."'


def test_a_text_keeps_its_lines():
    assert clean("One.\n\nTwo.\n", single_line=False) == "One.\n\nTwo."


def test_labels_without_a_language():
    assert clean("Output: x", language=None) == "x"
    assert clean("German: x", language=None) == "German: x"
