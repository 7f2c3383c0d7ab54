"""The arithmetic of the comparison with other engines, and that it runs with those that are installed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

CAUSAL_LM = Path(__file__).parents[2] / "benchmarks" / "causal_lm"
FIGURES = ("prefill_tokens_per_second", "decode_tokens_per_second")


@pytest.fixture(scope="module")
def peers():
    """`peers.py`, with what it imports from its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CAUSAL_LM))
        yield importlib.import_module("peers")
    for name in ("peers", "peers_processes", "peers_tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def contender(peers):
    """Makes a contender that has run."""

    def make(engine, bits, prefill, decode, ids, model=None):
        figures = dict(zip(FIGURES, (prefill, decode), strict=True))
        return peers.Contender(engine, bits, Path("models", model or f"{engine}-{bits}"), "1.0", figures, ids)

    return make


@pytest.fixture
def printed(peers, contender, capsys):
    """What is printed of contenders of one round, whose prefill is always 100 tokens a second.

    They are (engine, model, decode), with the interval of their loss where that is known; all of 4 bits.
    """

    def show(*parts):
        made = [contender(engine, 4, [100], [decode], [[1]], model) for engine, model, decode, *_ in parts]
        losses = {
            one.name: {"percent": part[3][0], "ci95": part[3]}
            for one, part in zip(made, parts, strict=True)
            if part[3:]
        }
        peers.print_rows(peers.summarise(made, 1, losses))
        return [
            line for line in capsys.readouterr().out.splitlines() if line.startswith("1 threads") and "decode" in line
        ]

    return show


def test_ratios_are_of_the_same_round_and_the_same_bits(peers, contender):
    ours, _, genai = peers.summarise(
        [
            contender("edgekit", 8, [100, 120, 150], [10, 12, 9], [[1, 2, 3]] * 3),
            contender("edgekit", 4, [1, 1, 1], [1, 1, 1], [[9, 9, 9]] * 3),
            contender("genai", 8, [50, 100, 300], [10, 8, 10], [[1, 2, 3], [1, 2, 4], [2, 2, 3]]),
        ],
        2,
        {},
    )
    assert genai["decode_tokens_per_second"] == {"median": 10, "min": 8, "max": 10}
    assert genai["edgekit_ratios"] == {
        "edgekit-8": {
            "prefill_tokens_per_second": {"median": 1.2, "min": 0.5, "max": 2.0},
            "decode_tokens_per_second": {"median": 1.0, "min": 0.9, "max": 1.5},
        }
    }
    assert genai["leading_ids_as_edgekit"] == {"edgekit-8": 2}
    assert (genai["model"], genai["threads"]) == ("genai-8", 2)
    assert not {"edgekit_ratios", "leading_ids_as_edgekit", "perplexity_loss"} & set(ours)


def test_a_peer_is_compared_with_every_bundle_of_its_bits(peers, contender):
    peer = peers.summarise(
        [
            contender("edgekit", 4, [100], [12], [[1, 2]], "int4"),
            contender("edgekit", 4, [100], [18], [[1, 3]], "int4-compact"),
            contender("llama.cpp", 4, [200], [6], [[1, 3]], "Q4_0.gguf"),
        ],
        1,
        {},
    )[2]
    medians = {bundle: ratio["decode_tokens_per_second"]["median"] for bundle, ratio in peer["edgekit_ratios"].items()}
    assert medians == {"int4": 2, "int4-compact": 3}
    assert peer["leading_ids_as_edgekit"] == {"int4": 1, "int4-compact": 2}


@pytest.mark.parametrize(("ids", "same"), [([[1, 2], [3, 4]], True), ([[1, 2], [3, 5]], False)])
def test_lookup_is_compared_with_its_own_bundle_and_says_whether_the_ids_were_the_same(peers, contender, ids, same):
    _, _, lookup = peers.summarise(
        [
            contender("edgekit", 4, [100] * 2, [10] * 2, [[9, 9]] * 2, "int4-compact"),
            contender("edgekit", 4, [100] * 2, [12] * 2, [[1, 2], [3, 4]], "int4"),
            contender("edgekit-lookup", 4, [100] * 2, [24] * 2, ids, "int4"),
        ],
        1,
        {"edgekit, int4": {"percent": 0.3, "ci95": [0.2, 0.4]}},
    )
    assert list(lookup["edgekit_ratios"]) == ["int4"]
    assert lookup["ids_as_without_lookup"] is same
    assert lookup["perplexity_loss"]["percent"] == 0.3


def test_the_better_peer_is_named(printed):
    lines = printed(("edgekit", "int4", 12), ("genai", "a", 10), ("llama.cpp", "b", 6), ("edgekit-lookup", "int4", 30))
    assert lines == ["1 threads, int4, decode_tokens_per_second: 1.20 [1.20-1.20] of the better peer, genai, a"]


def test_the_better_peer_is_named_again_among_those_that_lose_no_more(printed):
    lines = printed(
        ("edgekit", "int4", 12, [0.2, 0.4]),
        ("llama.cpp", "Q4_0.gguf", 16, [0.5, 0.9]),
        ("llama.cpp", "Q4_1.gguf", 15, [0.4, 0.6]),
        ("genai", "a", 10, [0.0, 0.1]),
        ("genai", "not measured", 20),
    )
    begin = "1 threads, int4, decode_tokens_per_second: "
    assert lines == [
        f"{begin}0.60 [0.60-0.60] of the better peer, genai, not measured",
        f"{begin}0.80 [0.80-0.80] of the better peer that loses no more, llama.cpp, Q4_1.gguf",
    ]


def test_a_better_peer_that_loses_no_more_is_named_once(printed):
    peers = ("llama.cpp", "Q4_1.gguf", 15, [-0.3, 0.1]), ("genai", "a", 10, [0.0, 0.1])
    assert len(printed(("edgekit", "int4", 12, [0.2, 0.4]), *peers)) == 1


def test_it_is_said_where_every_peer_loses_more(printed):
    lines = printed(("edgekit", "int4", 12, [0.2, 0.4]), ("genai", "a", 10, [0.41, 0.5]))
    assert lines[1:] == ["1 threads, int4, decode_tokens_per_second: no peer is known to lose as little"]


def test_two_models_of_one_name_are_refused(peers):
    with pytest.raises(SystemExit, match="found twice: genai, int4; rename one"):
        peers.parse_contenders(["genai:4:old/int4", "genai:4:new/int4", "edgekit:4:new/int4"])


def test_a_peer_that_is_not_installed_is_named_and_left_out(llama_case, tmp_path):
    bundle = write_text_bundle(tmp_path / "tiny", llama_case, byte_level())
    quality = {"results": [{"engine": "edgekit", "model": "tiny", "loss": {"percent": 0.3, "ci95": [0.2, 0.4]}}]}
    (tmp_path / "quality.json").write_text(json.dumps(quality))
    done = subprocess.run(
        [
            sys.executable,
            CAUSAL_LM / "peers.py",
            f"edgekit:8:{bundle}",
            "genai:8:nowhere",
            *("--threads", "1", "--prompt", "32", "--new-tokens", "8", "--quick", "--json", tmp_path / "found.json"),
            *("--python", "genai=/nowhere/python", "--quality", tmp_path / "quality.json"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CAUSAL_LM.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert "genai, nowhere: left out, " in done.stderr
    (row,) = json.loads((tmp_path / "found.json").read_text())["results"]
    assert (row["engine"], row["bits"], row["threads"]) == ("edgekit", 8, 1)
    assert row["perplexity_loss"] == quality["results"][0]["loss"]
    assert row["decode_tokens_per_second"]["median"] > 0
