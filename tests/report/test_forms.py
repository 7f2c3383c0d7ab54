import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from edgekit.bench.comparison import to_json
from edgekit.report import print_comparison, to_csv, to_markdown, to_svg
from edgekit.report.examples import choose_examples
from tests.report.comparisons import REFERENCES, comparison, fitting, model


@pytest.fixture(scope="module")
def measured():
    large = model("large int4", 24.1, 197.0, 1120.0, kind="causal-lm")
    return comparison(fitting(model("small int8", 69.2, 12.3, 140.0), True), large, warnings=("it was busy",))


def printed(found, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_comparison(found, Console(file=stream, width=1000, markup=False, emoji=False, highlight=False))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_terminal_says_the_verdict_then_warnings_then_tables(measured):
    lines = printed(measured).splitlines()
    assert lines[0] == "small int8, the encoder–decoder, is the better buy."
    assert lines[1].startswith("small int8 gives +45.1 chrF at 1/16 of the time and 1/8 of the memory of large int4")
    assert "warning: it was busy" in lines
    rows = [" ".join(line.split()) for line in lines]
    assert "median time a sentence 12.3 ms (12.1–12.5 ms) 197 ms (193–201 ms)" in rows
    assert "peak memory 140 MB 1.1 GB" in rows
    assert rows[-1].startswith("to repeat it: edgekit bench")


def test_terminal_of_another_encoding_gets_ascii(measured):
    text = printed(measured, "ascii")
    assert "12.3 ms (12.1-12.5 ms)" in text
    assert "rounds end at intervals of +-5 %" in text


def test_terminal_is_sent_no_control_character():
    found = comparison(model("\x1b]0;owned\x07 int8", 60, 10), warnings=("\x9b2J",))
    assert not {"\x1b", "\x07", "\x9b"} & set(printed(found))


def test_markdown_marks_the_best_and_has_the_verdict(measured):
    lines = to_markdown(measured).splitlines()
    assert lines[0] == "**small int8, the encoder–decoder, is the better buy.**"
    assert "| median time a sentence | **12.3 ms (12.1–12.5 ms)** | 197 ms (193–201 ms) |" in lines
    assert "- **warning:** it was busy" in lines


def test_markdown_makes_no_markup_of_names():
    hostile = model("a|b <img src=x> ![c](d) *e* `f`\n# g", 60, 10)
    text = to_markdown(comparison(hostile, model("h", 50, 30)))
    assert "a\\|b \\<img src=x> ![c]\\(d) \\*e\\* \\`f\\` # g" in text
    assert not [line for line in text.splitlines() if line.startswith("#")]


def test_csv_has_a_line_a_model_with_the_jsons_figures(measured):
    rows = list(csv.DictReader(io.StringIO(to_csv(measured))))
    values = json.loads(to_json(measured))["models"]
    assert [row["name"] for row in rows] == ["small int8", "large int4"]
    for row, value in zip(rows, values, strict=True):
        assert float(row["costs_latency_ms_p50"]) == value["costs"]["latency_ms_p50"]["median"]
        assert float(row["costs_latency_ms_p50_low"]) == value["costs"]["latency_ms_p50"]["low"]
        assert float(row["quality_chrf_high"]) == value["quality"]["chrf"]["ci95"][1]
        assert float(row["memory_peak_single_mb"]) == value["memory"]["peak_single_mb"]
        assert row["costs_joules_per_1000_words"] == ""
    assert [row["fit_fits"] for row in rows] == ["True", ""]
    assert [row["prompt"] for row in rows] == ["", "labelled"]
    assert [row["standing"] for row in rows] == ["on the front", "behind the front"]


def test_the_picture_alone_is_an_svg_file_for_light_and_dark(measured):
    text = to_svg(measured)
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("760", "458")
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"chrF against time: translate:en-de, tatoeba, 5 sentences", "small int8", "large int4"} <= set(texts)
    assert "prefers-color-scheme: dark" in text
    # The names of namespaces are addresses that nobody asks.
    assert text.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0


def test_examples_are_the_largest_the_median_and_the_smallest_difference():
    right = [reference for (reference,) in REFERENCES]
    # By difference, first minus second: item 4 (+), 2, 1 (0), 3 and 5 (-).
    first = model("first", 60, 10, outputs=(right[0], right[1], "x", right[3], "x"))
    second = model("second", 50, 10, outputs=(right[0], right[1][:6], right[2][:5], "x", right[4]))
    found = comparison(first, second)
    examples = choose_examples(found, first, second)
    assert [(example.title, example.position) for example in examples] == [
        ("Where first does best beside second", 4),
        ("The median", 1),
        ("Where second does best beside first", 5),
    ]
    assert [round(output.score) for output in examples[0].outputs] == [100, 0]
    assert examples[0].source == "Four fish swim."


def test_examples_of_one_item_show_it_once():
    only = {"inputs": ("One.",), "references": (("Eins.",),)}
    first, second = model("a", 60, 10, outputs=("Eins.",)), model("b", 50, 10, outputs=("Ein.",))
    assert [example.position for example in choose_examples(comparison(first, second, **only), first, second)] == [1]


def test_examples_score_the_best_of_several_references():
    task = {"inputs": ("One.",), "references": (("Eins.", "Einer."),)}
    first, second = model("a", 60, 10, outputs=("Einer.",)), model("b", 50, 10, outputs=("Zwei",))
    (example,) = choose_examples(replace(comparison(first, second, **task)), first, second)
    assert round(example.outputs[0].score) == 100
    assert example.references == ("Eins.", "Einer.")
