"""A comparison that `edgekit bench` measured (`recorded.json`), in every form."""

import sys
from pathlib import Path

import pytest

from edgekit.bench.comparison import from_json
from edgekit.errors import InputError
from edgekit.report import reach_verdict
from edgekit.report.__main__ import main, render

RECORDED = Path(__file__).parent / "recorded.json"


def test_the_recorded_verdict_is_reached_again():
    verdict = reach_verdict(from_json(RECORDED.read_text(encoding="utf-8")))
    assert verdict.headline == "None of these models runs within 256 MB and on 1 core."
    assert verdict.lead[0] == (
        "firefox-en-pt int8 gives +51.0 chrF at about 1/70 of the time, 37 % of the memory and about 1/40 of the price "
        "of SmolLM2-135M-Instruct.Q4_1 int8; the difference is significant (p = 0.005; 95 % interval +40.3 to +57.2)."
    )


def test_a_recorded_comparison_is_rendered_in_every_form(tmp_path):
    names = ["page.html", "picture.svg", "table.md", "table.csv"]
    render(RECORDED, [tmp_path / name for name in names])
    page, picture, markdown, csv = [(tmp_path / name).read_text(encoding="utf-8") for name in names]
    # An output of the language model, in English, and the development text on which its prompt was chosen.
    assert "This is a groundbreaking breakthrough in the field of infectious diseases." in page
    assert "The best of 7 prompts on 4 texts of ntrex+valid" in page
    assert picture.startswith("<svg")
    assert markdown.startswith("**None of these models runs within 256 MB")
    assert csv.splitlines()[1].startswith("firefox-en-pt int8,")


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"out\.pdf: expected a file that ends in \.html, \.svg, \.md, \.csv"):
        render(RECORDED, [tmp_path / "page.html", tmp_path / "out.pdf"])
    assert not list(tmp_path.iterdir())


def test_what_is_no_comparison_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "other.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "other.json"), str(tmp_path / "page.html")])
    with pytest.raises(SystemExit, match=r"error: .*other\.json: expected a report of edgekit bench --task"):
        main()


def test_a_missing_comparison_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"none\.json: cannot be read: .*; give what edgekit bench --task --json wrote"
    ):
        render(tmp_path / "none.json", [tmp_path / "page.html"])
