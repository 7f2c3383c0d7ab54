import json
import subprocess
import sys

import pytest

from edgekit.bench.worker import peak_rss_bytes
from edgekit.bench.worker_process import WorkerError, WorkerProcess, worker_environment

# What measures or makes a bundle must not run, or weigh, in the process that is measured.
BLOCKED = (
    "click", "cpuinfo", "onnx", "onnx_ir", "psutil", "rich", "sacrebleu", "sentencepiece", "torch", "transformers",
    "edgekit.bench.environment", "edgekit.bench.measure", "edgekit.cli", "edgekit.export", "edgekit.quality",
)  # fmt: skip
RUN_BLOCKED = f"""
import runpy, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
runpy.run_module("edgekit.bench.worker", run_name="__main__")
"""


def run_worker(bundle, requests, code=RUN_BLOCKED):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    return subprocess.run(
        [sys.executable, "-c", code, str(bundle), "1"],
        input=lines,
        capture_output=True,
        text=True,
        env=worker_environment(1),
        timeout=120,
        check=False,
    )


def test_worker_translates_with_everything_but_the_runtime_blocked(embedded_int8):
    texts = ["Good morning!", "Tom is a good friend."]
    done = run_worker(
        embedded_int8,
        [
            {"do": "translate_batched", "texts": texts, "batch_tokens": 512},
            {"do": "translate_each", "texts": texts},
            {"do": "peak_memory"},
            {"do": "quit"},
        ],
    )
    assert done.returncode == 0, done.stderr
    started, batched, each, memory, quit_reply = map(json.loads, done.stdout.splitlines())
    assert started["import_ms"] > 0
    assert started["load_ms"] > 0
    assert batched["translations"][0] == "Guten Morgen!"
    assert batched["seconds"] > 0
    assert len(each["latency_ms"]) == 2
    assert min(each["latency_ms"]) > 0
    assert 20e6 < memory["peak_rss_bytes"] < 400e6
    assert quit_reply == {}


def test_worker_ends_with_its_input(embedded_int8):
    done = run_worker(embedded_int8, [])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_what_a_library_prints_stays_out_of_the_replies(embedded_int8):
    code = (
        "import sys, edgekit.runtime, edgekit.bench.worker as worker\n"
        "load = edgekit.runtime.load\n"
        "def noisy(*args, **kwargs):\n    print('a chatty library')\n    return load(*args, **kwargs)\n"
        "edgekit.runtime.load = noisy\n"
        "sys.exit(worker.main(sys.argv[1], 1))\n"
    )
    done = run_worker(embedded_int8, [{"do": "quit"}], code)
    assert [set(json.loads(line)) for line in done.stdout.splitlines()] == [{"import_ms", "load_ms"}, set()]
    assert "a chatty library" in done.stderr


def test_fault_of_a_bundle_is_one_reply(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "bundle.json").write_text('{"schema_version": 99}')
    with pytest.raises(WorkerError, match=r"measuring .*broken: .*schema version 99"):
        WorkerProcess(broken, 1, 60)


def test_peak_memory_is_of_this_process_alone():
    code = "from edgekit.bench.worker import peak_rss_bytes as peak; a = peak(); b'x' * 50_000_000; print(a, peak())"
    ballast = b"x" * 200_000_000
    before, after = map(int, subprocess.check_output([sys.executable, "-c", code], env=worker_environment(1)).split())
    assert before < 100_000_000 < len(ballast) < peak_rss_bytes()
    assert 40_000_000 < after - before < 70_000_000
