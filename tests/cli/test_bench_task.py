import functools
import json
import re
import shutil

import pytest

from edgekit.bench import task_benchmark, task_rounds
from edgekit.cli.bench_task import parse_size
from edgekit.errors import InputError
from tests.cli.command import assert_fails, edgekit_here
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

PROMPT = '[[prompt]]\nname = "bare"\nstyle = "chat"\nask = "{input}"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory, embedded_int8, llama_case):
    """Two bundles, a test set, a prompt and a task."""
    folder = tmp_path_factory.mktemp("task")
    shutil.copytree(embedded_int8, folder / "marian")
    write_text_bundle(folder / "lm", llama_case, byte_level())
    pairs = "Good morning!\tGuten Morgen!\nTom is my friend.\tTom ist mein Freund.\n"
    (folder / "mine.tsv").write_text(pairs, encoding="utf-8")
    (folder / "prompt.toml").write_text(PROMPT)
    (folder / "in.txt").write_text("one\ntwo\n")
    (folder / "short.txt").write_text("eins\n")
    (folder / "task.toml").write_text('[test]\ninput = "in.txt"\nreference = "short.txt"\n')
    return folder


@pytest.fixture(scope="module")
def compared(folder):
    """The command's result on both, with its two files."""
    with pytest.MonkeyPatch.context() as patch:
        # The search for a limit starts some ten processes a model; it has tests of its own.
        patch.setattr(task_benchmark, "limit_kind", lambda: None)
        patch.setattr(task_rounds, "TaskSettings", functools.partial(task_rounds.TaskSettings, loads=1))
        return edgekit_here(
            "bench", "--cpu", folder / "marian", folder / "lm", "--task", "translate:en-de", "--testset",
            folder / "mine.tsv", "--prompt", folder / "prompt.toml", "--rounds", "1", "--timed", "1",
            "--price-per-hour", "0.5", "--memory", "2G", "--json", folder / "report.json",
            "--report", folder / "report.html",
        )  # fmt: skip


def test_both_kinds_are_compared_and_all_forms_written(compared, folder):
    assert compared.returncode == 0, compared.stderr
    assert "marian-en-de int8" in compared.stdout
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    marian, lm = report["models"]
    assert marian["outputs"][0] == "Guten Morgen!"
    assert marian["fit"]["fits"] is True
    assert lm["prompt"]["chosen"] == "bare"
    assert lm["quality"]["chrf"]["points"] < marian["quality"]["chrf"]["points"]
    assert lm["costs"]["first_output_ms"]["median"] <= lm["costs"]["latency_ms_p50"]["median"]
    assert marian["costs"]["price_per_million_words"]["median"] > 0
    assert report["pairs"][0]["quality"]["chrf"]["points"] > 0
    assert report["settings"]["price_per_hour"] == 0.5
    assert report["task"]["timed_items"] == report["task"]["timed_items_bulk"] == [0]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "marian-en-de int8" in page


def test_a_report_is_compared_with_another(compared, folder, tmp_path):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert 0 < report["conditions"]["probe_ms"] < 1000
    # Whatever else this machine does: beside other work no time would be judged.
    report["conditions"]["background_cores"] = report["environment"]["background_cores_before"] = 0.0
    old = tmp_path / "old.json"
    old.write_text(json.dumps(report))
    done = edgekit_here("bench", "--compare", old, old)
    assert done.returncode == 0
    figures, machine = done.stdout.splitlines()
    assert figures.startswith("0 of ")
    assert machine.startswith("the machine itself was as fast in both reports: the speed probe took ")
    for figure in ("median", "low", "high"):
        report["models"][0]["costs"]["latency_ms_p50"][figure] *= 9
    new = tmp_path / "new.json"
    new.write_text(json.dumps(report))
    done = edgekit_here("bench", "--compare", old, new)
    assert done.returncode == 1
    assert "latency_ms_p50" in done.stdout
    assert "+800.0 %  worse" in done.stdout
    assert edgekit_here("bench", "--compare", new, old).returncode == 0
    done = edgekit_here("bench", "--compare", new, old, "--json", "-")
    (change,) = [change for change in json.loads(done.stdout)["changes"] if change["verdict"] != "same"]
    assert (change["subject"], change["verdict"]) == ("marian-en-de int8", "better")
    report["conditions"]["background_cores"] = 1.0
    new.write_text(json.dumps(report))
    done = edgekit_here("bench", "--compare", old, new)
    assert done.returncode == 0
    assert re.search(
        r"^0 of \d+ figures changed; .* are the same, \d+ of the wall clock are not judged$", done.stdout, re.M
    )
    assert "other work used 1.00 cores beside the second report: processor time is judged" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["marian", "--task", "translate:en-pt"], 1, ["marian translates en-de and cannot do translate:en-pt"]),
        (["marian", "--task", "translate:en-de", "--price-per-hour", "-1"], 1, ["must be above 0, found -1"]),
        (["marian", "--task", "task.toml"], 1, ["short.txt: expected as many lines as in.txt, 2, found 1"]),
        (["marian", "--task", "prompt.toml"], 1, ["prompt.toml: expected a [test] table"]),
        (["marian", "--task", "translate:en-de", "--memory", "lots"], 1, ["such as 512M or 1.5G as --memory"]),
        (["marian", "--task", "translate:en-de", "--stride", "3"], 1, ["--stride belongs to text generation without"]),
        (["marian", "--task", "translate:en-de", "--report", "absent/x.html"], 1, ["its directory does not exist"]),
        (["marian", "--task", "translate:en-de", "--testset", "a", "--testset", "b"], 1, ["has one test set"]),
        (["marian", "--timed", "5"], 1, ["--timed belongs to a comparison on one task"]),
        (["marian", "--memory", "5M", "--dev", "x"], 1, ["--dev and --memory belong to a comparison on one task"]),
        (
            ["marian", "--task", "translate:en-de", "--prompt", "prompt.toml"],
            1,
            ["--prompt: for prompts of language models"],
        ),
        (
            ["marian", "--task", "translate:en-de", "--report", "a", "--json", "a"],
            2,
            ["name the same file: choose two"],
        ),
        (["--task", "translate:en-de"], 2, ["--task compares models: name one or more"]),
        (["marian", "--compare", "a", "b"], 2, ["--compare measures nothing, so a model does not apply"]),
        (["--compare", "a", "b", "--limit", "3"], 2, ["so --limit does not apply; leave it out"]),
        (["--compare", "a", "b", "--csv"], 2, ["so --csv does not apply"]),
        (["--compare", "absent.json", "b"], 1, ["absent.json: cannot be read"]),
        (["--compare", "prompt.toml", "prompt.toml"], 1, ["prompt.toml: expected JSON of edgekit bench"]),
    ],
)
def test_what_is_wrong_is_one_line_before_any_work(folder, monkeypatch, arguments, status, words):
    monkeypatch.chdir(folder)
    assert_fails(edgekit_here("bench", *arguments), status, *words)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512_000_000), ("1.5G", 1_500_000_000), ("64MiB", 2**26), ("1Ki", 1024), ("77", 77)]
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-5M", "5T", "M", "1e3"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"expected a size such as 512M or 1\.5G as --memory, found"):
        parse_size(text)
