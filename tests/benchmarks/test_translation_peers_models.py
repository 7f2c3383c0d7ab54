"""The comparison with other engines: when a model is made anew, and which settings are measured."""

import argparse
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
MODULES = ("engine", "processes", "tables", "tasks")


@pytest.fixture(scope="module")
def compare():
    """`compare.py`, whose neighbours are imported by their short names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PEERS))
        yield runpy.run_path(str(PEERS / "compare.py"))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def convert(compare, tmp_path, monkeypatch):
    """Converts ``checkpoint`` in the temporary directory; the list says what was made."""
    processes, made = sys.modules["processes"], []

    def run(command, **_):
        made.append(command[2:])
        Path(command[4]).mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(processes.subprocess, "run", run)
    arguments = argparse.Namespace(path={}, python={})

    def convert(engine="peer", *extra):
        return processes._convert(arguments, engine, "form", tmp_path / "checkpoint", tmp_path / "model", *extra)

    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_bytes(b"first")
    return convert, made


def test_a_model_is_kept_while_nothing_that_it_is_made_of_changes(convert, tmp_path):
    convert, made = convert
    assert convert() == convert() == tmp_path / "model"
    assert made == [["form", str(tmp_path / "checkpoint"), str(tmp_path / "model")]]


def test_a_changed_checkpoint_and_a_changed_text_make_it_anew(convert, tmp_path):
    convert, made = convert
    convert()
    (tmp_path / "model" / "stale").touch()
    (tmp_path / "checkpoint" / "weights").write_bytes(b"second")
    convert()
    assert len(made) == 2
    assert not (tmp_path / "model" / "stale").exists()
    text = tmp_path / "text.tsv"
    for lines in ("one\n", "two\n"):
        text.write_text(lines)
        convert("peer", text)
    assert len(made) == 4


def test_only_edgekit_is_asked_again_when_edgekit_has_changed(convert, monkeypatch, tmp_path):
    convert, made = convert
    builder = tmp_path / "package" / "graph" / "decoder.py"
    builder.parent.mkdir(parents=True)
    monkeypatch.setattr(sys.modules["processes"], "PACKAGE", tmp_path / "package")
    for engine, times in (("peer", 1), ("edgekit", 2)):
        made.clear()
        for code in ("first", "second"):
            builder.write_text(code)
            convert(engine)
        assert len(made) == times


def test_settings_are_grouped_by_their_threads(compare):
    chosen = [compare["setting"](text) for text in ("1:1:1", "2:1:1", "1:4:32")]
    assert compare["by_threads"](chosen) == {1: [(1, 1), (4, 32)], 2: [(1, 1)]}
