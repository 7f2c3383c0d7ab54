"""Scores, the plot and the cards, from tiny models and made-up logs."""

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from models.training.card import SOURCES, card, main
from models.training.evaluate import BEAM, COPY, GREEDY, TestText, evaluate, read_testsets
from models.training.plot import plot, ticks
from models.training.prepare import ALTERED, DOMAINS

LOG = "model,processor_hours,steps,pairs,rate,loss,everyday_nats,other_nats,chrf\n"


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory, testsets):
    """Both tiny models on 3 lines of a packaged set, and on the one line of a set with another system's output."""
    out = tmp_path_factory.mktemp("scores")
    texts = [text.first(3) for text in read_testsets(testsets) if not text.name.startswith("flores")]
    return out, evaluate(out, trained, texts, testsets, 3, 2)


def test_every_model_is_scored_with_both_searches_on_every_set(scored, trained):
    _, rows = scored
    for model in trained:
        found = {row["search"]: row for row in rows if row["set"] == "tatoeba (packaged)" and row["system"] == model}
        assert {search: row["lines"] for search, row in found.items()} == {GREEDY: 3, BEAM: 3}
        assert found[GREEDY]["of"] == 2000
        assert 0 <= found[GREEDY]["chrf"] <= 100


def test_a_set_of_the_users_own_is_cut_and_a_packaged_one_is_not(trained, tmp_path):
    own = TestText("own", ("One.", "Two.", "Three."), ("Eins.", "Zwei.", "Drei."), 3)
    texts = [own, replace(own, name="ours (packaged)", packaged=True)]
    rows = evaluate(tmp_path, {"marian-en-de": trained["marian-en-de"]}, texts, None, 2, 1)
    lines = {(row["set"], row["search"]): row["lines"] for row in rows if row["system"] == "marian-en-de"}
    assert lines == {("own", GREEDY): 2, ("own", BEAM): 1, ("ours (packaged)", GREEDY): 3, ("ours (packaged)", BEAM): 3}


def test_all_packaged_sets_are_scored():
    assert [(text.name, text.of) for text in read_testsets(None)] == [
        ("tatoeba (packaged)", 2000),
        ("flores-dev (packaged)", 997),
    ]


def test_copying_the_source_and_other_systems_stand_beside_them(scored):
    _, rows = scored
    planted = {row["system"]: row for row in rows if row["set"] == "planted" and not row["search"]}
    assert set(planted) == {COPY, "perfect"}
    assert planted["perfect"]["chrf"] == pytest.approx(100.0)
    assert 0 < planted[COPY]["chrf"] < 60


def test_the_table_says_what_was_cut_and_how_it_was_scored(scored):
    out, _ = scored
    table = (out / "scores.md").read_text(encoding="utf-8")
    assert "| tatoeba (packaged) | first 3 of 2,000 | copying the source |  |" in table
    assert "chrf: `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in table
    assert "bleu: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in table


def test_translations_that_are_there_are_not_made_again(scored, trained, tmp_path, testsets):
    texts = [text.first(3) for text in read_testsets(testsets)][:1]
    (tmp_path / "tatoeba-packaged.marian-en-de.greedy.txt").write_text(
        "".join(f"{line}\n" for line in texts[0].references), encoding="utf-8"
    )
    rows = evaluate(tmp_path, {"marian-en-de": trained["marian-en-de"]}, texts, None, 3, 2)
    assert next(row for row in rows if row["search"] == GREEDY)["bleu"] == pytest.approx(100.0)


def test_the_plot_has_a_curve_for_each_model_through_all_its_logs(tmp_path):
    (tmp_path / "a.csv").write_text(LOG + "one,0.5,10,100,0.002,3,2.5,3,20\none,1,20,200,0.002,3,2,3,30\n")
    (tmp_path / "b.csv").write_text(LOG + "one,1.5,30,300,0,3,1.5,3,40\n")
    (tmp_path / "c.csv").write_text(LOG + "two,1,15,100,0.002,3,2.2,3,25\n")
    svg = plot([tmp_path / name for name in ("c.csv", "b.csv", "a.csv")])
    lines = ET.fromstring(svg).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [1, 3, 1, 3]
    across = [float(point.split(",")[0]) for point in lines[1].get("points").split()]
    assert across == sorted(across)
    heights = [float(point.split(",")[1]) for point in lines[1].get("points").split()]
    assert heights == sorted(heights, reverse=True), "chrF rises, and SVG counts from the top"


def test_a_plot_of_nothing_says_so(tmp_path):
    (tmp_path / "empty.csv").write_text(LOG)
    with pytest.raises(ValueError, match=r"expected rows in .*empty\.csv, found none; train first"):
        plot([tmp_path / "empty.csv"])


@pytest.mark.parametrize(("low", "high", "wanted"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (21, 48, [20, 30, 40, 50])])
def test_ticks_are_round_and_enclose(low, high, wanted):
    assert ticks(low, high) == wanted


def test_every_training_set_has_a_licence_and_an_attribution():
    assert set(SOURCES) == {*DOMAINS, ALTERED}


def test_the_card_holds_the_measured_figures_and_the_notes(scored, trained, work, tmp_path):
    out, rows = scored
    log = tmp_path / "log.csv"
    log.write_text(LOG + "marian-en-de,1.25,4321,500000,0,3,1.612,3,40\n")
    text = card("marian-en-de", trained["marian-en-de"], work, log, out, "Reads well, translates badly.\n")
    assert "| training | 1.25 processor hours in bf16, 4,321 steps, 500,000 pairs seen;" in text
    assert "1 of 602 pairs held one, and were left out" in text
    assert "1.612 nats a target piece" in text
    assert "`\n\nEvery line is one text to transformers." in text
    assert "## What to expect\n\nReads well, translates badly.\n" in text
    first = next(row for row in rows if row["system"] == "lm-en-de")
    assert f"| lm-en-de | greedy | {first['chrf']:.1f} | {first['bleu']:.1f} |" in text
    assert "In 1960, the collateral had been removed" in text
    counts = json.loads((work / "prepare.json").read_text())["domains"]
    assert f"| tatoeba | {counts['tatoeba']['pairs']} | 50 % | CC BY 2.0 FR |" in text


def test_the_card_as_a_program_writes_the_licence_too(scored, trained, work, tmp_path, monkeypatch):
    folder = tmp_path / "lm-en-de"
    shutil.copytree(trained["lm-en-de"], folder)
    log, notes = tmp_path / "log.csv", tmp_path / "notes.md"
    log.write_text(LOG + "lm-en-de,1.25,4321,500000,0,3,1.612,3,40\n")
    notes.write_text("Worse than its twin.\n")
    options = ["--data", work, "--log", log, "--scores", scored[0], "--notes", notes]
    monkeypatch.setattr("sys.argv", ["card", str(folder), *map(str, options)])
    main()
    assert "Worse than its twin." in (folder / "README.md").read_text(encoding="utf-8")
    assert 'To attribute: "lm-en-de by the edgekit authors' in (folder / "LICENSE").read_text(encoding="utf-8")
