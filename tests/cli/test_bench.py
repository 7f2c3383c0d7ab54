import csv
import functools
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from edgekit.bench.measure import BenchSettings
from edgekit.bench.text_speed import TextBenchSettings
from edgekit.cli.report_file import check_writable, write_file
from edgekit.errors import OutputError
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from tests.cli.command import edgekit_here
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle


@pytest.fixture(scope="module")
def bundles(embedded_fp32, embedded_int8):
    return [embedded_fp32, embedded_int8]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("testset") / "mine.tsv"
    path.write_text("Good morning!\tGuten Morgen!\nTom is my friend.\tTom ist mein Freund.\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def one_load():
    """Bundles are loaded once, not three times, in the runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for settings in (BenchSettings, TextBenchSettings):
            patch.setattr(sys.modules[settings.__module__], settings.__name__, functools.partial(settings, loads=1))
        yield


def bench(*args, **env):
    return edgekit_here("bench", *args, env=env)


def test_default_model_is_exported_benched_and_reported(tmp_path):
    done = bench("--cpu", "--limit", "20", "--rounds", "1", "--json", "-", EDGEKIT_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema_version"] == 1
    assert report["environment"]["threads"] == 1
    rows = [(row["model"], row["precision"], row["testset"], row["sentences"]) for row in report["results"]]
    assert rows == [
        ("marian-en-de", precision, testset, 20)
        for testset in ("flores-dev", "tatoeba")
        for precision in ("fp32", "int8")
    ]
    fp32, int8 = report["results"][2:]
    # On everyday sentences the embedded model is far above the floor, and int8 is close to fp32.
    assert fp32["chrf"] > fp32["chrf_floor"] + 15
    assert abs(int8["chrf_loss"]) < 3
    assert int8["size_mb"] < 0.5 * fp32["size_mb"]
    assert int8["peak_rss_mb"] > int8["size_mb"]
    assert 0 < int8["latency_ms_p50"] <= int8["latency_ms_p95"]
    assert int8["words_per_second_batched"] > 0
    assert "exporting marian-en-de in fp32" in done.stderr
    assert "exporting marian-en-de in int8" in done.stderr
    # What edgekit carries, without a look at the hub.
    assert {row["source"] for row in report["results"]} == {"embedded marian-en-de"}
    assert "hub" not in done.stderr


def test_a_second_run_exports_nothing(bundles, mine, tmp_path):
    cache = tmp_path / "cache"
    for bundle in bundles:
        shutil.copytree(bundle, cache / "bundles" / bundle.name)
    quick = ("--testset", mine, "--limit", "1", "--rounds", "1")
    done = bench(*quick, EDGEKIT_CACHE=str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    # By its name the model is first of all the hub's: that this one is not is said once.
    done = bench("marian-en-de", *quick, EDGEKIT_CACHE=str(cache))
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "made from embedded marian-en-de, not from hub Helsinki-NLP/opus-mt-en-de; " in done.stderr


def test_bundles_of_one_name_from_other_sources_are_told_apart_and_not_compared(bundles, mine, tmp_path):
    other = shutil.copytree(bundles[1], tmp_path / "marian-en-de-int8")
    manifest = json.loads((other / "bundle.json").read_text(encoding="utf-8"))
    manifest["source"] |= {"type": "hub", "id": "org/other"}
    (other / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = bench(bundles[0], other, "--testset", mine, "--limit", "1", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    assert table[2].startswith("marian-en-de fp32 (embedded marian-en-de)  ")
    assert re.match(r"marian-en-de int8 \(hub org/other\) +[\d.]+ +- +[\d.]+ +-", table[3])


def test_source_decides_for_models_and_not_for_bundles(bundles):
    help_text = " ".join(bench("--help").stdout.split())
    assert "Take each MODEL's weights from exactly there" in help_text
    assert "Without an argument: marian-en-de with the weights that edgekit carries" in help_text
    done = bench("marian-en-de", "--source", "registry")
    assert (done.returncode, done.stdout) == (1, "")
    assert "marian-en-de has no source 'registry'" in done.stderr
    done = bench(bundles[1], "--source", "hub")
    assert "is a bundle, to which --source hub does not apply; leave it out" in done.stderr


def test_bundles_given_are_measured_as_they_are(bundles, mine, tmp_path):
    report = tmp_path / "report.json"
    done = bench(*bundles[::-1], "--testset", mine, "--rounds", "1", "--json", report)
    assert done.returncode == 0, done.stderr
    # fp32 is the baseline, whatever the order.
    table = done.stdout.splitlines()
    assert table[0] == "Quality: en-de, mine, 2 sentences"
    assert table[2].split()[:3] == ["marian-en-de", "fp32", "100.00"]
    assert table[3].split()[:2] == ["marian-en-de", "int8"]
    assert "exporting" not in done.stderr
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    assert [result["bundle"] for result in results] == ["marian-en-de-fp32", "marian-en-de-int8"]
    assert os.listdir(tmp_path) == ["report.json"]


def test_one_int8_bundle_has_no_loss_and_prints_csv(bundles, mine):
    done = bench(bundles[1], "--rounds", "1", "--testset", mine, "--csv", "--threads", "2")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["precision"], row["chrf_loss"], row["threads"]) == ("int8", "", "2")


def test_markdown(bundles, mine):
    done = bench(bundles[1], "--rounds", "1", "--testset", mine, "--limit", "1", "--markdown")
    assert done.stdout.startswith("**Quality: en-de, mine, 1 sentences**\n\n|  | chrF |")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--csv", "--markdown"], "--json -, --csv and --markdown all write to stdout: choose one"),
        (["--csv", "--json", "-"], "choose one"),
        (["--precision", "int2"], "expected a comma-separated list of int8, int4, fp32, found 'int2'"),
        (["--threads", "0"], "0 is not in the range x>=1"),
        (["--rounds", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_usage_exits_with_two_and_empty_stdout(args, message):
    done = bench(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_failures_are_one_line_with_empty_stdout(bundles, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("one column\n")
    for args, message in [
        (["--json", tmp_path / "absent" / "report.json"], "its directory does not exist; create it first"),
        (["--json", tmp_path], "expected a file to write, found a directory"),
        ([bundles[1], "--testset", bad], "two non-empty columns a line; not so in line 1"),
        ([bundles[1], "--testset", "newstest"], 'no test set "newstest" for en-de'),
        (["no-such-model"], "no-such-model"),
        (["no-such-model-int8"], "no-such-model-int8"),
    ]:
        done = bench(*args)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
        assert done.stderr.startswith("edgekit: ")
        assert done.stderr.count("\n") == 1


def test_damaged_bundle_leaves_nothing_behind(bundles, tmp_path):
    report = tmp_path / "report.json"
    damaged = tmp_path / "marian-en-de-int8"
    damaged.mkdir()
    for file in bundles[1].iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    done = bench(damaged, "--json", report)
    assert (done.returncode, done.stdout, report.exists()) == (1, "", False)
    assert "expected SHA-256" in done.stderr


def test_report_replaces_a_file_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("older and longer")
    write_file(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    (tmp_path / "link.json").symlink_to(path)
    write_file(tmp_path / "link.json", "newer\n")
    assert path.read_text() == "newer\n"
    assert sorted(os.listdir(tmp_path)) == ["link.json", "report.json"]


@pytest.mark.parametrize("target", ["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/fd/1"])
def test_streams_can_be_written(target):
    probe = (
        f"from pathlib import Path; from edgekit.cli import report_file; report_file.check_writable(Path({target!r}))"
    )
    probe += f"; report_file.write_file(Path({target!r}), 'report\\n')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "" if target == "/dev/null" else "report\n")


def test_report_to_a_process_substitution(bundles, mine, tmp_path):
    measuring = f"{sys.executable} -m edgekit bench {bundles[1]} --testset {mine} --limit 1 --rounds 1"
    command = f"{measuring} --json >(cat > {tmp_path / 'out.json'}; echo done > {tmp_path / 'done'}) > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    deadline = time.monotonic() + 20
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["schema_version"] == 1


def test_streams_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"pipe: is not writable; choose another file"):
        check_writable(tmp_path / "pipe")
    with pytest.raises(OutputError, match=r"new\.json: its directory is not writable; choose another"):
        check_writable(tmp_path / "new.json")


def test_report_to_a_pipe_leaves_the_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(path, "report\n")
        assert os.read(reader, 100) == b"report\n"
    finally:
        os.close(reader)
    assert path.is_fifo()


def test_report_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(
        OutputError, match=r"report\.json: cannot be written: No such file or directory; nothing was kept"
    ):
        write_file(tmp_path / "absent" / "report.json", "{}")


@pytest.fixture(scope="module")
def text_bundles(tmp_path_factory, llama_case):
    directory = tmp_path_factory.mktemp("texts")
    int8 = quantize_weights(llama_case.weights, named_scheme("causal-lm", "int8"))
    return [
        write_text_bundle(directory / "tiny-fp32", llama_case, byte_level()),
        write_text_bundle(directory / "tiny-int8", llama_case, byte_level(), precision="int8", weights=int8),
    ]


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text("The children are playing in the garden.\n" * 9, encoding="utf-8")
    return path


def test_bundles_that_generate_text_are_measured_as_such(text_bundles, prose):
    quick = ("--text", prose, "--limit", "4", "--rounds", "1", "--context", "64", "--stride", "32")
    done = bench(*text_bundles, *quick, "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["task"] == "text-generation"
    assert report["settings"]["limit"] == 4
    assert report["texts"][0]["words"] == 4 * 7
    fp32, int8 = report["results"]
    assert (fp32["precision"], int8["precision"]) == ("fp32", "int8")
    assert (int8["context"], int8["stride"]) == (64, 32)
    assert 0 < int8["mean_kl"] < 0.1


def test_options_of_the_other_task_are_refused(text_bundles, bundles, prose, mine):
    done = bench(*text_bundles, "--testset", mine)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--testset belongs to translation; these models generate text; --text gives one to score" in done.stderr
    done = bench(*bundles, "--text", prose, "--stride", "8")
    assert "--text and --stride belong to text generation; these models translate; --testset gives" in done.stderr
    done = bench(*text_bundles, *bundles)
    assert re.search(r"one task, found text-generation \(.*tiny-fp32\) and translation \(.*marian", done.stderr)
