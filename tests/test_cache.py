"""The cache's place, its entries, and how a name finds an exported bundle."""

import sys
from pathlib import Path

import pytest

from edgekit.cache import bundle_dir, cache_dir, clear, find_bundle, list_entries, source_dir
from edgekit.errors import EdgekitError, ModelNotFoundError, OutputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(path))
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def put_bundle(directory, size_bytes=10):
    directory.mkdir(parents=True)
    (directory / "bundle.json").write_bytes(b"{}")
    (directory / "weights.safetensors").write_bytes(bytes(size_bytes - 2))
    return directory


def test_edgekit_cache_moves_the_cache_and_a_relative_one_is_made_absolute(here, cache, monkeypatch):
    assert cache_dir() == cache
    monkeypatch.setenv("EDGEKIT_CACHE", "elsewhere")
    assert cache_dir() == here / "elsewhere"
    monkeypatch.setenv("EDGEKIT_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.setenv("EDGEKIT_CACHE", "~no-such-user/x")
    assert cache_dir() == here / "~no-such-user" / "x"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "HOME/.cache/edgekit"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/edgekit"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache/edgekit"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "HOME/Library/Caches/edgekit"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/edgekit/Cache"),
        ("win32", {}, "HOME/AppData/Local/edgekit/Cache"),
    ],
)
def test_without_it_the_cache_lies_where_the_platform_keeps_caches(monkeypatch, platform, environment, expected):
    for name in ("EDGEKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_dir() == Path(expected.replace("HOME", str(Path.home())))


def test_an_empty_edgekit_cache_counts_as_unset(monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", "")
    assert cache_dir().name == "edgekit"


def test_without_a_home_directory_the_message_names_the_variable(monkeypatch):
    def home():
        raise RuntimeError("no home")

    monkeypatch.delenv("EDGEKIT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(EdgekitError, match="found no home directory for the cache; set EDGEKIT_CACHE to a directory"):
        cache_dir()


def test_bundles_and_sources_have_their_places(cache):
    assert bundle_dir("marian-en-de", "int8") == cache / "bundles" / "marian-en-de-int8"
    assert source_dir("registry", "en-pt") == cache / "sources" / "registry" / "en-pt"


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", ".hidden", "x\0", "ü", "a" * 200, "x."])
def test_a_name_that_is_no_plain_component_cannot_leave_the_cache(name):
    with pytest.raises(EdgekitError, match="cannot name a directory of the cache; use letters, digits and"):
        source_dir("registry", name)


def test_an_absent_cache_is_empty():
    assert list_entries() == []


def test_entries_are_bundles_then_sources_with_their_sizes(cache):
    put_bundle(cache / "bundles" / "b-int8", 30)
    put_bundle(cache / "bundles" / "a-int8", 20)
    put_bundle(cache / "bundles" / ".a-int8.staged")
    put_bundle(cache / "sources" / "registry" / "en-pt", 40)
    listed = [(entry.name, entry.kind, entry.size_bytes) for entry in list_entries()]
    assert listed == [("a-int8", "bundle", 20), ("b-int8", "bundle", 30), ("registry/en-pt", "source", 40)]


def test_clear_removes_one_entry_by_its_name_or_a_models_bundles(cache):
    for name in ("m-int8", "m-fp32", "other-int8"):
        put_bundle(cache / "bundles" / name)
    put_bundle(cache / "sources" / "pypi" / "wheel-1.0")
    assert [entry.name for entry in clear("m")] == ["m-fp32", "m-int8"]
    assert [entry.name for entry in clear("pypi/wheel-1.0")] == ["pypi/wheel-1.0"]
    assert [entry.name for entry in list_entries()] == ["other-int8"]


def test_clear_of_everything_keeps_what_edgekit_did_not_write(cache):
    put_bundle(cache / "bundles" / "m-int8")
    put_bundle(cache / "bundles" / ".m-int8.staged")
    (cache / "verified").mkdir()
    (cache / "thesis.txt").write_text("not edgekit's")
    assert [entry.name for entry in clear()] == ["m-int8"]
    assert [path.name for path in cache.iterdir()] == ["thesis.txt"]


def test_clear_of_an_unknown_entry_says_what_there_is(cache):
    with pytest.raises(ModelNotFoundError, match="has no entry 'm'; it holds nothing"):
        clear("m")
    put_bundle(cache / "bundles" / "n-int8")
    with pytest.raises(ModelNotFoundError, match=r"has no entry '\.\.'; it holds n-int8"):
        clear("..")


def test_clear_reports_what_it_cannot_remove(cache, monkeypatch):
    put_bundle(cache / "bundles" / "m-int8")

    def rmtree(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", rmtree)
    with pytest.raises(OutputError, match=r"could not remove .*m-int8: Permission denied; close what uses it"):
        clear("m-int8")


def test_a_bundles_path_is_found_as_it_is(here):
    bundle = put_bundle(here / "some" / "where")
    assert find_bundle("some/where") == Path("some/where")
    assert find_bundle(bundle) == bundle


def test_a_name_is_looked_up_here_then_in_the_cache_and_prefers_int8(here, cache):
    for directory in (cache / "bundles" / "m-fp32", here / "m-fp32"):
        put_bundle(directory)
    assert find_bundle("m") == Path("m-fp32")
    in_cache = put_bundle(cache / "bundles" / "m-int8")
    assert find_bundle("m") == in_cache
    put_bundle(here / "m-int8")
    assert find_bundle("m") == Path("m-int8")
    assert find_bundle("m-fp32") == Path("m-fp32")


def test_a_hub_name_is_looked_up_by_its_last_part_without_revision(cache):
    bundle = put_bundle(cache / "bundles" / "name-int8")
    assert find_bundle("org/name") == bundle
    assert find_bundle("org/name@v1") == bundle
    assert find_bundle(Path("org/name")) == bundle


def test_a_directory_that_is_no_bundle_hides_nothing_of_its_name_but_a_path_means_itself(here, cache):
    (here / "m" / "m").mkdir(parents=True)
    bundle = put_bundle(cache / "bundles" / "m-int8")
    assert find_bundle("m") == bundle
    with pytest.raises(
        ModelNotFoundError, match=r"^m/m has no bundle\.json; if it is a checkpoint, `edgekit export m/m`"
    ):
        find_bundle("m/m")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("marian-en-de", r"no bundle 'marian-en-de' here or in .*; `edgekit export marian-en-de` makes it"),
        ("marian-en-de-fp32", "`edgekit export marian-en-de --precision fp32` makes it"),
        ("opus-mt-en-fr-int8", "`edgekit export opus-mt-en-fr --precision int8` makes it"),
        ("org/name", "`edgekit export org/name` makes it"),
        (
            "marian-en-ed",
            "no recipe of that name; the closest names are marian-en-de, lm-en-de; "
            "`edgekit export NAME` makes a bundle",
        ),
        ("zzz", "no recipe of that name; `edgekit models` lists the names; `edgekit export NAME` makes a bundle"),
        ("", "'' names no bundle; give a bundle's directory or a model's name"),
        ("a\0b", "names no bundle; give a bundle's directory"),
        ("x" * 5000, "no recipe of that name"),
        ("../../etc", "no bundle '../../etc' here"),
    ],
)
def test_a_missing_bundle_names_the_command_that_makes_it(name, message):
    with pytest.raises(ModelNotFoundError, match=message):
        find_bundle(name)


def test_names_of_cached_bundles_are_suggested_too(cache):
    put_bundle(cache / "bundles" / "my-own-model-int8")
    with pytest.raises(ModelNotFoundError, match="the closest names are my-own-model, lm-en-de; `edgekit export NAME`"):
        find_bundle("my-own-modle-int8")
