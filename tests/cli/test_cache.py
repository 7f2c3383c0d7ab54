"""`edgekit cache`: lists, and clears only when told to."""

import io
import json

import pytest
from click.testing import CliRunner

from edgekit.cli.cache import command
from edgekit.cli.main import run as main
from edgekit.errors import ModelNotFoundError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(path))
    for entry, size_bytes in (("bundles/marian-en-de-int8", 2_500_000), ("sources/registry/en-pt", 1_000_000)):
        (path / entry).mkdir(parents=True)
        (path / entry / "file").write_bytes(bytes(size_bytes))
    return path


def run(*args, answer=None, exit_code=0):
    result = CliRunner().invoke(command, args, input=answer)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.mark.parametrize("args", [[], ["list"]])
def test_list_is_the_default_and_gives_sizes_and_the_path(cache, args):
    result = run(*args)
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["marian-en-de-int8", "bundle", "2.5"]
    assert lines[2].split() == ["registry/en-pt", "source", "1.0"]
    assert lines[3] == f"2 entries, 3.5 MB in {cache}"
    assert result.stderr == ""


def test_an_empty_cache_is_said_to_be_empty(cache, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", str(cache / "none"))
    assert run().stdout == f"0 entries, 0.0 MB in {cache / 'none'}\n"


def test_json_gives_bytes_and_paths(cache):
    found = json.loads(run("list", "--json").stdout)
    assert (found["schema_version"], found["path"]) == (1, str(cache))
    assert found["entries"][0] == {
        "name": "marian-en-de-int8",
        "kind": "bundle",
        "path": str(cache / "bundles" / "marian-en-de-int8"),
        "size_bytes": 2_500_000,
    }


def test_clear_removes_one_entry_and_says_so_on_stderr(cache):
    result = run("clear", "marian-en-de", "--yes")
    assert (result.stdout, result.stderr) == ("", "removed 1 entry, 2.5 MB\n")
    assert not (cache / "bundles" / "marian-en-de-int8").exists()
    assert (cache / "sources" / "registry" / "en-pt").exists()


def test_clear_without_a_name_removes_everything(cache):
    assert run("clear", "--yes").stderr == "removed 2 entries, 3.5 MB\n"
    assert list(cache.iterdir()) == []


def test_clear_asks_first_and_a_no_removes_nothing_says_so_and_is_status_1(cache):
    result = run("clear", answer="n\n", exit_code=1)
    assert result.stdout == ""
    assert f"Remove everything from {cache}? [y/N]" in result.stderr
    assert result.stderr.endswith("nothing removed\n")
    assert (cache / "bundles" / "marian-en-de-int8").exists()


def test_clear_after_a_yes_removes(cache):
    run("clear", "registry/en-pt", answer="y\n")
    assert not (cache / "sources" / "registry" / "en-pt").exists()


def test_a_no_is_status_1_of_the_whole_command_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(SystemExit) as stopped:
        main(["cache", "clear"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.endswith("nothing removed\n")


@pytest.mark.parametrize("args", [[], ["--yes"]])
def test_clear_of_an_unknown_name_is_an_error_before_the_question(args):
    result = CliRunner().invoke(command, ["clear", "nope", *args])
    assert (result.stdout, result.stderr) == ("", "")
    assert isinstance(result.exception, ModelNotFoundError)
    assert "has no entry 'nope'; it holds marian-en-de-int8, registry/en-pt" in str(result.exception)
