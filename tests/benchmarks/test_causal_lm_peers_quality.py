"""What files of other engines lose: the summary, what is kept of an interrupted run, and the way of the logits."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench.text_models import load_models
from edgekit.quality.perplexity import Window, plan_windows
from edgekit.quality.plain_text import EvaluationText

CAUSAL_LM = Path(__file__).parents[2] / "benchmarks" / "causal_lm"
TEXT = EvaluationText("a text", "one two three four", "no digest", "none")
WINDOWS = [Window(0, 1, 3, False), Window(1, 3, 5, False)]


@pytest.fixture(scope="module")
def quality():
    """`peers_quality.py`, with what it imports from its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CAUSAL_LM))
        yield importlib.import_module("peers_quality")
    for name in ("peers_quality", "peers_processes", "peers_tables", "perplexity"):
        sys.modules.pop(name, None)


@pytest.fixture
def kept(quality, tmp_path):
    """Makes what is kept of a contender, whose model is a file of four bytes."""

    def make(engine, sums=(), model="any"):
        (tmp_path / "any").write_bytes(b"four")
        contender = quality.Contender(engine, 4, tmp_path / model, "1.0")
        one = quality.Scored(contender, tmp_path / "progress" / engine, {"model": "a digest"})
        one.begin()
        for entry in sums:
            one.add(entry)
        return one

    return make


def test_figures_are_of_the_windows_asked_for(quality, kept):
    window = {"nats": 2.2, "kl": [0.0, 0.1], "same": [True, True]}
    other = {"nats": 2.2, "kl": [0.2, 0.3], "same": [True, False]}
    beyond = {"nats": 9.0, "kl": [9.0, 9.0], "same": [False, False]}
    rows = quality.summarise(
        [kept("edgekit", [{"nats": 2.0}] * 3), kept("peer", [window, other, beyond]), kept("unfinished", [window])],
        WINDOWS,
        TEXT,
    )
    assert [row["engine"] for row in rows] == ["edgekit", "peer"]
    assert rows[0]["perplexity"]["perplexity"] == pytest.approx(math.e)
    assert "loss" not in rows[0]
    # Both windows lose a tenth of a nat a token, so that every resample does.
    percent = 100 * math.expm1(0.1)
    assert rows[1]["loss"] == {"percent": pytest.approx(percent), "ci95": (pytest.approx(percent),) * 2}
    divergence = {"mean_kl": 0.15, "p99_kl": 0.297, "max_kl": 0.3, "top1_agreement": 0.75}
    assert rows[1]["divergence"] == pytest.approx(divergence)
    assert (rows[1]["bytes"], rows[1]["bits"], rows[1]["version"]) == (4, 4, "1.0")


def test_a_torn_line_is_measured_again(quality, kept):
    one = kept("peer", [{"nats": 1.5}])
    with one.file.open("a") as file:
        file.write('{"nats": 2')
    found = quality.Scored(quality.Contender("peer", 4, one.contender.model), one.file, one.origin)
    assert (found.sums, found.contender.version) == ([{"nats": 1.5}], "1.0")
    found.begin()
    found.add({"nats": 2.5})
    again = quality.Scored(quality.Contender("peer", 4, one.contender.model), one.file, one.origin)
    assert again.sums == [{"nats": 1.5}, {"nats": 2.5}]


def test_what_was_measured_of_other_files_is_dropped(quality, kept):
    one = kept("peer", [{"nats": 1.5}])
    assert quality.Scored(one.contender, one.file, {"model": "another digest"}).sums == []


def test_a_changed_file_is_another_model(quality, tmp_path):
    (tmp_path / "weights").write_bytes(b"1")
    (tmp_path / "graph").write_bytes(b"2")
    before = quality.identity(tmp_path)
    assert quality.identity(tmp_path) == before
    (tmp_path / "weights").write_bytes(b"3")
    assert quality.identity(tmp_path) != before


def test_an_engine_gives_the_same_logits_as_the_baseline_and_an_ended_run_goes_on(quality, endless_llama, tmp_path):
    def contenders():
        made = [quality.Contender("edgekit", bits, endless_llama) for bits in (32, 4)]
        return [quality.Scored(one, tmp_path / f"{one.bits}.jsonl", {"of": "tiny"}) for one in made]

    windows = plan_windows(40, 16, 12, False)
    ids = np.random.default_rng(0).integers(3, 320, 40).tolist()
    with load_models([endless_llama], 1) as (baseline,):
        kept = contenders()
        quality.score(baseline, kept, windows[:2], ids, [])
        quality.score(baseline, (after := contenders()), windows, ids, [])
    assert [len(one.sums) for one in after] == [4, 4]
    assert after[1].sums[:2] == kept[1].sums
    assert [entry["nats"] for entry in after[1].sums] == [entry["nats"] for entry in after[0].sums]
    assert all(max(entry["kl"]) == 0 and all(entry["same"]) for entry in after[1].sums)
    assert [len(entry["kl"]) for entry in after[1].sums] == [11, 12, 12, 4]
    assert json.loads((tmp_path / "4.jsonl").read_text().splitlines()[0])["version"].startswith("edgekit ")
