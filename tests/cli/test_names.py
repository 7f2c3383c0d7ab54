"""What a name means to `edgekit quantize`, and what `edgekit export` refuses before it fetches anything."""

import os
import shutil

import pytest

from edgekit.bundle.write import check_target
from edgekit.errors import OutputError
from tests.bundle.tiny_bundle import build_tiny_bundle
from tests.cli.command import assert_fails, edgekit_here

EXISTS = "exists already; choose another output or replace it with --force"


@pytest.mark.parametrize("name", ["marian-en-de-fp32", "marian-en-de"])
def test_quantize_finds_an_exported_bundle_and_means_its_fp32_one(embedded_fp32, embedded_int8, tmp_path, name):
    for bundle in (embedded_fp32, embedded_int8):
        shutil.copytree(bundle, tmp_path / "cache" / "bundles" / bundle.name)
    (tmp_path / "here").mkdir()
    env = {"EDGEKIT_CACHE": str(tmp_path / "cache")}
    done = edgekit_here("quantize", name, "--scheme", "int8-dynamic", cwd=tmp_path / "here", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "marian-en-de-int8\n", "")
    assert os.listdir(tmp_path / "here") == ["marian-en-de-int8"]


def test_quantize_says_how_to_make_a_missing_fp32_bundle(tmp_path):
    done = edgekit_here("quantize", "marian-en-de", cwd=tmp_path)
    assert_fails(done, 1, "no bundle 'marian-en-de-fp32'", "`edgekit export marian-en-de --precision fp32` makes it")


# The hub is out of reach in tests: asking it would be another message.
@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["marian-en-de", "--source", "hub"], "marian-en-de-int8"),
        (["opus-mt-en-fr", "--precision", "fp32"], "opus-mt-en-fr-fp32"),
        (["org/model", "-o", "mine"], "mine"),
    ],
)
def test_export_refuses_an_existing_target_before_it_looks_for_a_source(tmp_path, arguments, target):
    build_tiny_bundle(tmp_path / target)
    assert_fails(edgekit_here("export", *arguments, cwd=tmp_path), 1, f"{target}: {EXISTS}")
    (tmp_path / target / "notes.txt").write_text("precious")
    done = edgekit_here("export", *arguments, "--force", cwd=tmp_path)
    assert_fails(done, 1, f"{target}: not replaced, because it holds 'notes.txt', which is no part of the bundle")


def test_export_of_a_name_whose_target_is_not_there_asks_the_source(tmp_path):
    build_tiny_bundle(tmp_path / "opus-mt-en-fr-int8")
    done = edgekit_here("export", "opus-mt-en-fr", "--force", cwd=tmp_path)
    assert_fails(done, 1, "the Hugging Face hub can't be reached")
    done = edgekit_here("export", "opus-mt-en-fr", "--precision", "fp32", cwd=tmp_path)
    assert_fails(done, 1, "the Hugging Face hub can't be reached")


def test_a_target_is_checked_without_a_change(tmp_path):
    check_target(tmp_path / "new")
    bundle = build_tiny_bundle(tmp_path / "tiny")
    before = sorted(os.listdir(tmp_path / "tiny"))
    check_target(bundle, force=True)
    with pytest.raises(OutputError, match=EXISTS):
        check_target(bundle)
    with pytest.raises(OutputError, match="expected the path of a new directory"):
        check_target(tmp_path / "a\0b")
    assert (os.listdir(tmp_path), sorted(os.listdir(bundle))) == (["tiny"], before)
