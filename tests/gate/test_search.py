"""`edgekit quantize --search`: the mix that is found, what is said on the way, and going on after Ctrl-C."""

import os
import re

import pytest

from edgekit.bundle.read import open_bundle
from edgekit.gate import candidates, final_report
from edgekit.gate.search_state import SearchState
from edgekit.gate.sensitivity import Probe
from tests.cli.command import assert_fails, edgekit_here
from tests.graph.causal_lm_checkpoints import make_llama
from tests.runtime.causal_lm_bundles import TEXTS, byte_level, sized, write_text_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A decoder-only model with random weights, and a text."""
    directory = tmp_path_factory.mktemp("tiny")
    case = sized(make_llama(vocab_size=320, max_position_embeddings=160), 320)
    write_text_bundle(directory / "tiny-fp32", case, byte_level())
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


def test_a_budget_that_no_mix_meets_leaves_nothing(search, tmp_path):
    done = search("kl=0.0000000001")
    assert done.returncode == 1
    assert_last = done.stderr.splitlines()[-1]
    assert assert_last.startswith("edgekit: no mix of fp32, int8, int4 was found to be within kl=1e-10")
    assert "give a larger budget, or more development text with --dev FILE; nothing was kept" in assert_last
    assert sorted(os.listdir(tmp_path)) == ["cache"]


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
