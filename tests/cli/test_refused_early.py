"""What `edgekit bench` and `edgekit export` refuse before they export, fetch or import much: time would be lost."""

import os
import subprocess
import sys

import pytest

from edgekit.cli.on_demand import find_model
from edgekit.errors import InputError
from edgekit.recipes import embedded_dir
from tests.cli.command import assert_fails, edgekit_here


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekit.cli.on_demand.export_by_precision", _fail)
    monkeypatch.setattr("edgekit.export.sources.resolve._resolve_recipe", _fail)


def _fail(*args, **kwargs):
    raise AssertionError("a model is exported or fetched")


TRANSLATE, BOTH_KINDS = ("--task", "translate:en-de"), ("firefox-en-de", "smollm2-135m")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--testset", "newstest"], 'no test set "newstest" for en-de: expected a packaged set (flores-dev, tatoeba)'),
        (["marian-en-de", "--testset", "ntrex"], 'no test set "ntrex" for en-de'),
        (["firefox-en-fr"], "firefox-en-fr: no test set is packaged for en-fr; give your own source<TAB>reference"),
        (["nllb-200-600m", "--testset", "newstest"], 'no test set "newstest"'),
        (["marian-en-de", "--testset", "bad.tsv"], "two non-empty columns a line; not so in line 1"),
        (["marian-en-de", "--text", "wikitext2"], "--text belongs to text generation; these models translate"),
        (["marian-en-de", "--precision", "fp32,int4"], "int4 is for decoder-only models, which marian-en-de is not"),
        (["smollm2-135m", "--testset", "tatoeba"], "--testset belongs to translation; these models generate text"),
        (["smollm2-135m", "--text", "nowhere"], 'no text "nowhere": expected a packaged one'),
        (["smollm2-135m", "--stride", "512"], "stride must be below the context of 512 tokens, found 512"),
        (["marian-en-de", "smollm2-135m"], "found text-generation (smollm2-135m) and translation (marian-en-de);"),
        ([*BOTH_KINDS, *TRANSLATE, "--testset", "newstest"], 'no test set "newstest" for en-de'),
        ([*BOTH_KINDS, *TRANSLATE, "--dev", "newstest"], 'no development set "newstest" for en-de'),
        ([*BOTH_KINDS, *TRANSLATE, "--dev", "short.tsv"], "development items that are not in the test set"),
        ([*BOTH_KINDS, *TRANSLATE, "--price-per-hour", "0"], "a price per hour must be above 0, found 0"),
        (
            [*BOTH_KINDS, *TRANSLATE, "--memory", "lots"],
            "expected a size such as 512M or 1.5G as --memory, found",
        ),
        ([*BOTH_KINDS, *TRANSLATE, "--cores", "999"], "usable cores; a fit onto 999 cannot be tried"),
        (["firefox-en-de", "--prompt", "prompt.toml", *TRANSLATE], "--prompt: for prompts of language models"),
        (["firefox-en-pt", *TRANSLATE], "firefox-en-pt translates en-pt and cannot do translate:en-de; choose a"),
    ],
)
def test_what_a_recipe_tells_is_refused_before_its_export(arguments, message, tmp_path):
    (tmp_path / "bad.tsv").write_text("one column\n")
    (tmp_path / "short.tsv").write_text("A dog.\tEin Hund.\n")
    (tmp_path / "prompt.toml").write_text('[[prompt]]\nname = "bare"\nstyle = "completion"\nask = "{input}"\n')
    assert_fails(edgekit_here("bench", *arguments), 1, message)
    assert not (tmp_path / "cache").exists()


def test_a_test_set_that_no_pair_has_is_refused_for_a_checkpoint_of_unknown_languages(tmp_path):
    done = edgekit_here("bench", embedded_dir("marian-en-de"), "--testset", "newstest")
    assert_fails(done, 1, 'no test set "newstest"')


def test_what_a_model_is_can_be_told_without_its_bundles():
    found = find_model("marian-en-de", ["int8"])
    assert (found.name, found.task, found.languages) == ("marian-en-de", "translation", ("en", "de"))
    assert find_model("smollm2-135m", None).is_prompted
    with pytest.raises(InputError, match=r"^int4 is for decoder-only models, which marian-en-de is not; choose"):
        find_model("marian-en-de", ["int4"])
    assert os.listdir() == []


def test_an_unknown_name_is_refused_before_the_graph_builder_is_imported():
    probe = """
import sys
from edgekit.cli.main import run
for options in ([], ["--precision", "fp32"], ["--max-loss", "chrf=0.3"]):
    try:
        run(["export", "nosuch", *options])
    except SystemExit:
        print(sorted({"edgekit.export.pipeline", "edgekit.graph.emitter", "onnx_ir", "onnxruntime"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "[]\n" * 3, done.stderr
    assert [line[:39] for line in done.stderr.splitlines()] == ["edgekit: no model is named 'nosuch'; `e"] * 3
