"""The arithmetic of the comparison with other engines, and that it runs with those that are installed."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "causal_lm" / "peers.py"
peers = runpy.run_path(str(SCRIPT))


def contender(engine, bits, prefill, decode, ids):
    figures = {"prefill_tokens_per_second": prefill, "decode_tokens_per_second": decode}
    return peers["Contender"](engine, bits, Path(f"models/{engine}-{bits}"), "1.0", figures, ids)


def test_ratios_are_of_the_same_round_and_the_same_bits():
    rows = peers["summarise"](
        [
            contender("edgekit", 8, [100, 120, 150], [10, 12, 9], [[1, 2, 3]] * 3),
            contender("edgekit", 4, [1, 1, 1], [1, 1, 1], [[9, 9, 9]] * 3),
            contender("genai", 8, [50, 100, 300], [10, 8, 10], [[1, 2, 3], [1, 2, 4], [2, 2, 3]]),
        ],
        threads=2,
    )
    ours, _, genai = rows
    assert genai["decode_tokens_per_second"] == {"median": 10, "min": 8, "max": 10}
    assert genai["edgekit_ratio_prefill_tokens_per_second"] == {"median": 1.2, "min": 0.5, "max": 2.0}
    assert genai["edgekit_ratio_decode_tokens_per_second"] == {"median": 1.0, "min": 0.9, "max": 1.5}
    assert genai["leading_ids_as_edgekit"] == 2
    assert (genai["model"], genai["threads"]) == ("genai-8", 2)
    assert not [name for name in ours if "ratio" in name]


def test_the_better_peer_is_named(capsys):
    rows = peers["summarise"](
        [
            contender("edgekit", 8, [100], [12], [[1]]),
            contender("genai", 8, [50], [10], [[1]]),
            contender("llama.cpp", 8, [200], [6], [[1]]),
        ],
        threads=1,
    )
    peers["print_rows"](rows)
    printed = capsys.readouterr().out
    assert "1 threads, 8 bits, decode_tokens_per_second: 1.20 [1.20-1.20] of the better peer, genai" in printed
    assert "1 threads, 8 bits, prefill_tokens_per_second: 0.50 [0.50-0.50] of the better peer, llama.cpp" in printed


def test_a_peer_that_is_not_installed_is_named_and_left_out(llama_case, tmp_path):
    bundle = write_text_bundle(tmp_path / "tiny", llama_case, byte_level())
    done = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            f"edgekit:8:{bundle}",
            "genai:8:nowhere",
            *("--threads", "1", "--prompt", "32", "--new-tokens", "8", "--quick", "--json", tmp_path / "found.json"),
            *("--python", "genai=/nowhere/python"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert "genai, nowhere: left out, " in done.stderr
    (row,) = json.loads((tmp_path / "found.json").read_text())["results"]
    assert (row["engine"], row["bits"], row["threads"], row["leading_ids_as_edgekit"]) == ("edgekit", 8, 1, 8)
    assert row["decode_tokens_per_second"]["median"] > 0
