"""The recorded sentence at the first load: what is compared, what is refused, what is remembered."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest

from edgekit.bundle.read import open_bundle
from edgekit.errors import BundleError
from edgekit.export import export
from edgekit.runtime import TextGenerator, Translator, load, self_check
from edgekit.runtime.scoring import most_likely
from tests.export.causal_lm_directories import make_model, save_checkpoint

LONG_AGO = 1_000_000_000


@pytest.fixture
def bundle(embedded_int8, tmp_path, monkeypatch):
    """A bundle that is old enough to be remembered, and a cache of its own."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    copied = shutil.copytree(embedded_int8, tmp_path / "bundle")
    return copied


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr("edgekit.bundle.verified.SETTLED_NS", -(10**18))


def saying(ids):
    """Gives ``ids``, and counts how often it was asked."""

    def say():
        say.asked += 1
        return ids

    say.asked = 0
    return say


def test_the_recorded_sentence_comes_out_on_this_cpu(bundle):
    opened = open_bundle(bundle)
    recorded = opened.manifest.self_check
    search = Translator(opened)._search.load_greedy_search()
    assert tuple(search.search([recorded.input_ids], len(recorded.output_ids))[0]) == recorded.output_ids


@pytest.mark.parametrize(
    ("recorded", "found", "share"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), 1.0),
        ((1, 2, 3, 4), (1, 9, 3, 4), 0.75),
        ((1, 2, 3, 4), (3, 4), 2 / 3),
        ((1, 2, 3, 4), (5, 6, 7, 8), 0.0),
        ((1, 2), (), 0.0),
    ],
)
def test_ids_in_common(recorded, found, share):
    assert self_check.in_common(recorded, found) == pytest.approx(share)


def test_a_word_that_came_out_otherwise_is_no_fault(bundle):
    opened = open_bundle(bundle)
    recorded = opened.manifest.self_check.output_ids
    self_check.check_once(opened, saying((*recorded[:-1], 7)))


def test_other_words_are_refused_in_one_line(bundle):
    opened = open_bundle(bundle)
    expected = re.escape(str(list(opened.manifest.self_check.output_ids[:8]))[1:-1])
    message = (
        rf"^{re.escape(str(bundle))}: its recorded sentence comes out as \[11, 12\] on this CPU, expected \[{expected}"
        r".*\]; its int8 arithmetic is wrong here: use an fp32 bundle, and please report your CPU's name$"
    )
    with pytest.raises(BundleError, match=message):
        self_check.check_once(opened, saying([11, 12]))


def test_an_fp32_bundle_is_not_told_to_be_one(bundle):
    opened = open_bundle(bundle)
    fp32 = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, precision="fp32"))
    with pytest.raises(BundleError, match=r"\]; its fp32 arithmetic is wrong here: please report your CPU's name$"):
        self_check.check_once(fp32, saying([11, 12]))


def test_a_kernel_that_is_wrong_is_found_at_load(bundle, monkeypatch):
    search = "edgekit.runtime.greedy.GreedySearch.search"
    monkeypatch.setattr(search, lambda self, rows, *rest: [[5] * 9 for _ in rows])
    with pytest.raises(BundleError, match=r"comes out as \[5, 5, 5, 5, 5, 5, 5, 5, \.\.\.\] on this CPU"):
        load(bundle)


def test_it_is_asked_once(bundle, settled):
    opened = open_bundle(bundle)
    recorded = opened.manifest.self_check.output_ids
    first, second = saying(recorded), saying([])
    self_check.check_once(opened, first)
    self_check.check_once(open_bundle(bundle), second)
    assert (first.asked, second.asked) == (1, 0)


def test_a_cpus_kind_is_its_model_and_instruction_sets_and_not_its_clock(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(self_check, "CPUINFO", file)
    kinds = []
    for model, clock in (("A", 1000), ("A", 2000), ("B", 1000)):
        file.write_text(f"processor : 0\nmodel name : {model}\ncpu MHz : {clock}\nflags : avx2\n\nmodel name : C\n")
        kinds.append(self_check.cpu_kind())
    assert kinds[0] == kinds[1] != kinds[2]
    assert kinds[0].endswith("\nmodel name : A\nflags : avx2")


@pytest.mark.parametrize("changed", ["onnxruntime", "cpu", "kernels", "bundle"])
def test_it_is_asked_again_after_a_change(changed, bundle, settled, monkeypatch):
    opened = open_bundle(bundle)
    recorded = opened.manifest.self_check.output_ids
    self_check.check_once(opened, saying(recorded))
    if changed == "onnxruntime":
        monkeypatch.setattr(self_check.ort, "__version__", "9.9")
    elif changed == "cpu":
        monkeypatch.setattr(self_check, "cpu_kind", lambda: "another")
    elif changed == "kernels":
        monkeypatch.setattr(self_check, "products_saturate", lambda: "otherwise")
    else:
        os.utime(bundle / "decoder.onnx", (LONG_AGO, LONG_AGO))
    again = saying(recorded)
    self_check.check_once(open_bundle(bundle), again)
    assert again.asked == 1


def test_a_failure_is_not_remembered(bundle, settled):
    opened = open_bundle(bundle)
    for _ in range(2):
        with pytest.raises(BundleError, match="its recorded sentence comes out as"):
            self_check.check_once(opened, saying([]))


def test_a_bundle_that_was_written_just_now_is_not_remembered(bundle):
    opened = open_bundle(bundle)
    again = saying(opened.manifest.self_check.output_ids)
    self_check.check_once(opened, again)
    self_check.check_once(opened, again)
    assert again.asked == 2


def test_a_bundle_without_a_recorded_sentence_loads(bundle):
    opened = open_bundle(bundle)
    nothing = dataclasses.replace(
        opened.manifest, self_check=dataclasses.replace(opened.manifest.self_check, output_ids=())
    )
    self_check.check_once(dataclasses.replace(opened, manifest=nothing), saying([1]))


def test_a_decoder_only_model_says_what_it_recorded(tmp_path):
    bundle = export(str(save_checkpoint(tmp_path / "tiny", make_model("llama"))), "int8", tmp_path / "int8")
    generator = TextGenerator.load(bundle)
    recorded = generator.manifest.self_check
    found = most_likely(generator._search, recorded.input_ids, recorded.output_ids)
    assert self_check.in_common(recorded.output_ids, found) > 0.9
    logits = generator.logits([*recorded.input_ids, *recorded.output_ids])
    np.testing.assert_array_equal(found, logits[len(recorded.input_ids) - 1 : -1].argmax(axis=1))


def test_a_decoder_only_model_that_says_something_else_is_refused(tmp_path, monkeypatch):
    bundle = export(str(save_checkpoint(tmp_path / "tiny", make_model("llama"))), "int8", tmp_path / "int8")
    monkeypatch.setattr("edgekit.runtime.text_generator.most_likely", lambda *arguments: [0] * 16)
    with pytest.raises(BundleError, match="its recorded sentence comes out as"):
        load(bundle)
