"""`edgekit quantize --search`: the mix that is found, what is said on the way, and going on after Ctrl-C."""

import os
import re

import pytest

from edgekit.bundle.read import open_bundle
from edgekit.export import export
from edgekit.gate import candidates, final_report
from edgekit.gate.search_state import SearchState
from edgekit.gate.sensitivity import Probe
from tests.bergamot_fixture import make_student
from tests.cli.command import assert_fails, edgekit_here
from tests.runtime.causal_lm_bundles import TEXTS, byte_level, write_text_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama_case):
    """A decoder-only model with random weights, and a text."""
    directory = tmp_path_factory.mktemp("tiny")
    write_text_bundle(directory / "tiny-fp32", llama_case, byte_level())
    (directory / "mine.txt").write_text("\n".join(TEXTS * 6), encoding="utf-8")
    return directory


@pytest.fixture
def search(tiny, tmp_path, monkeypatch):
    """Runs a search for the smallest mix of three formats; the test text is short, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(final_report, "DEFAULT_TEXT", str(tiny / "mine.txt"))
    few = {name: candidates.FORMATS["causal-lm"][name] for name in ("fp32", "int8", "int4")}
    monkeypatch.setitem(candidates.FORMATS, "causal-lm", few)

    def run(budget, *options):
        return edgekit_here(
            "quantize", tiny / "tiny-fp32", "-o", "found", "--search", "--max-loss", budget, "--cost", "size",
            "--dev", tiny / "mine.txt", *options,
        )  # fmt: skip

    return run


def test_the_smallest_mix_inside_the_budget_is_found_and_described(search, tmp_path):
    done = search("kl=0.0004")
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr
    said = done.stderr.splitlines()
    assert said[0].startswith("search: ")
    assert " tensors in 2 formats" in said[0]
    assert [line for line in said if line.startswith("the sensitivities take about ")]
    assert [line for line in said if re.match(r"at most \d mixes are measured as a whole: about \d+ s, less if ", line)]
    tried = re.compile(r"\d+ tensors, .*: (passed|refused|undecided)")
    verdicts = [found[1] for line in said if (found := tried.fullmatch(line))]
    assert len(verdicts) > 1
    assert set(verdicts[:-1]) == {"passed"}, "the first that isn't accepted ends the search"
    assert verdicts[-1] != "passed"
    assert [line for line in said if "By the profile its tensors take" in line]
    assert [line for line in said if line.startswith("on the test set mine: loses")]
    bundle = open_bundle(tmp_path / "found")
    measured = bundle.manifest.measured
    formats = measured["search"]["formats"]
    assert len(set(formats.values())) > 1, "a budget between those of pure formats takes a mix"
    assert measured["gate"]["kl"]["verdict"] == "passed"
    assert measured["gate"]["kl"]["high"] <= 0.0004
    assert 0.4 < measured["search"]["size_of_int8"] < 2
    assert set(measured["test"]["mine"]) == {"ppl", "kl"}
    stored = bundle.manifest.quantization.tensors
    for name, named in formats.items():
        assert (name in stored) == (named != "fp32")
        if named.startswith("int4"):
            assert stored[name].dtype == "uint4"
    assert edgekit_here("verify", "found").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["cache", "found"]
    assert os.listdir(tmp_path / "cache" / "searches") == []


def test_a_search_that_is_interrupted_goes_on_where_it_was(search, tmp_path, monkeypatch):
    cost, measured, stop_after = Probe.cost, [], 7

    def interrupted(self, changes, precision):
        if len(measured) == stop_after:
            raise KeyboardInterrupt
        measured.append(tuple(changes))
        return cost(self, changes, precision)

    monkeypatch.setattr(Probe, "cost", interrupted)
    done = search("kl=0.5")
    assert (done.returncode, done.stdout) == (130, "")
    assert "interrupted; the same command goes on from here (what was found is in " in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["cache"]
    stop_after = None
    before = len(measured)
    done = search("kl=0.5")
    assert done.returncode == 0, done.stderr
    assert "; 7 of " in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[0].endswith("sensitivities are known")
    total = int(done.stderr.splitlines()[0].split("; 7 of ")[1].split()[0])
    assert len(measured) - before == total - 7
    assert total == 10, "of the formats in blocks one is measured of each tensor"


def test_a_budget_that_no_mix_meets_leaves_nothing(search, tmp_path):
    done = search("kl=0.0000000001")
    assert done.returncode == 1
    assert_last = done.stderr.splitlines()[-1]
    assert assert_last.startswith("edgekit: no mix of fp32, int8, int4 was found to be within kl=1e-10")
    assert "give a larger budget, or more development text with --dev FILE; nothing was kept" in assert_last
    assert sorted(os.listdir(tmp_path)) == ["cache"]


def test_a_translator_is_looked_at_once_and_compared_with_what_it_ships(tmp_path, monkeypatch):
    """A model that comes in int8: fp32 is no format of it."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(final_report, "testset_names", lambda *languages: [])
    sizes = {"vocab": 100, "d": 16, "ffn": 24, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}
    fp32 = export(str(make_student(tmp_path / "tiny-en-pt", **sizes).directory), "fp32", tmp_path / "fp32")
    (tmp_path / "mine.tsv").write_text("A good day.\tUm bom dia.\n" * 100, encoding="utf-8")
    done = edgekit_here(
        "quantize", fp32, "-o", tmp_path / "found", "--search", "--max-loss", "kl=5", "--dev", tmp_path / "mine.tsv"
    )
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(tmp_path / "found")
    measured = bundle.manifest.measured
    assert set(measured["search"]["formats"].values()) <= {"int8", "int8-static", "int8-weights"}
    assert (measured["gate"]["looks"], measured["gate"]["interval_percent"]) == (1, 95.0)
    assert (measured["gate"]["kl"]["items"], measured["gate"]["kl"]["verdict"]) == (100, "passed")
    assert measured["search"]["tensor_time_of_int8"] > 0
    assert measured["search"]["size_of_int8"] == pytest.approx(1, abs=0.05)


def test_a_search_without_a_budget_of_the_task_is_refused(search):
    assert_fails(search("chrf=1"), 1, "a model for text-generation has no chrf; give its budget as one of ppl=1%")


def test_a_state_is_of_one_search_and_a_damaged_one_counts_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))
    state = SearchState({"weights": "a"})
    state.put("kl int8 x", 0.5)
    again = SearchState({"weights": "a"})
    assert "kl int8 x" in again
    assert again.get("kl int8 x") == 0.5
    assert "kl int8 x" not in SearchState({"weights": "b"})
    state.path.write_text("{", encoding="utf-8")
    assert "kl int8 x" not in SearchState({"weights": "a"})
    state.forget()
    assert list(tmp_path.rglob("*.json")) == []
