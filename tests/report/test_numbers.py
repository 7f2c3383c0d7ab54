import pytest

from edgekit.report import numbers
from edgekit.report.drawing import printable, shortened
from edgekit.report.estimate import Estimate
from edgekit.report.wording import listed


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1 / 16, "1/16 of the time"),
        (1 / 1340, "1/1,300 of the time"),
        (0.34, "1/3 of the time"),
        (0.38, "38 % of the time"),
        (0.49, "half of the time"),
        (0.97, "97 % of the time"),
        (1.0, "1 times the time"),
        (1.42, "1.4 times the time"),
        (16.4, "16 times the time"),
    ],
)
def test_a_ratio_in_words(ratio, said):
    assert numbers.share_of(Estimate(ratio, ratio, ratio), "time") == said


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1 / 74, "about 1/70 of the time"),
        (0.28, "about 1/4 of the time"),
        (0.43, "about 40 % of the time"),
        (1.3, "about 1.5 times the time"),
        (17.0, "about 20 times the time"),
    ],
)
def test_a_ratio_with_a_wide_interval_is_said_roughly(ratio, said):
    assert numbers.share_of(Estimate(ratio, 0.8 * ratio, 1.2 * ratio), "time") == said


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (numbers.milliseconds, 3.4, "3.40 ms"),
        (numbers.milliseconds, 34.12, "34.1 ms"),
        (numbers.milliseconds, 999.4, "999 ms"),
        (numbers.milliseconds, 999.6, "1.00 s"),
        (numbers.megabytes, 8.34, "8.3 MB"),
        (numbers.megabytes, 218.4, "218 MB"),
        (numbers.megabytes, 1234.0, "1.2 GB"),
        (numbers.amount, 0.01234, "0.0123"),
        (numbers.amount, 0.0, "0"),
        (numbers.amount, 12345.0, "12,345"),
        (numbers.points, -0.25, "−0.2"),
        (numbers.signed, 65.06, "+65.1"),
        (numbers.signed, -0.04, "0.0"),
        (numbers.signed, -3.0, "−3.0"),
        (numbers.factor, 0.0602, "0.060"),
        (numbers.factor, 8.64, "8.6"),
        (numbers.factor, 16.4, "16"),
        (numbers.p_text, 1 / 1001, "p < 0.001"),
        (numbers.p_text, 0.0321, "p = 0.032"),
    ],
)
def test_a_figure_as_text(form, value, text):
    assert form(value) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("1.00 s", "1 s"),
        ("10.0 ms", "10 ms"),
        ("1.50 s", "1.5 s"),
        ("100 ms", "100 ms"),
        ("0.0500", "0.05"),
        ("1,000 ms", "1,000 ms"),
        ("0.500", "0.5"),
        ("30", "30"),
    ],
)
def test_a_tick_has_no_zeros_behind_the_point(text, short):
    assert numbers.tick(text) == short


def test_lists_of_names():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_control_characters_and_surrogates_are_replaced_and_lines_kept():
    assert printable("a\x1b[31m\x00\n\tb\ud800\uffffç漢") == "a\ufffd[31m\ufffd\n\tb\ufffd\ufffdç漢"


def test_marks_that_reorder_what_follows_are_replaced_and_right_to_left_text_stays():
    assert printable("a\u202eb\u2066c שלום") == "a\ufffdb\ufffdc שלום"


def test_a_long_name_keeps_its_beginning_and_end():
    assert shortened("smollm2-135m-instruct int8", 14) == "smollm2…t int8"
    assert shortened("marian int8", 14) == "marian int8"
