"""Writers of one bundle that meet, are killed, or find the target changed: one whole bundle is left."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from edgekit.bundle import write
from edgekit.bundle.locks import DirectoryLock
from edgekit.bundle.read import open_bundle
from edgekit.errors import OutputError
from tests.bundle.tiny_bundle import build_tiny_bundle, contents, tiny_manifest, write_bundle

WRITER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from edgekit.bundle import write
    from tests.bundle.tiny_bundle import fill, tiny_manifest
    target, stop = Path(sys.argv[1]), sys.argv[2]
    if stop == "between-renames":
        write._rename = lambda staging, target: (print("ready", flush=True), time.sleep(60))
    with write.stage_bundle(target, force=True) as directory:
        fill(directory)
        if stop == "staging":
            print("ready", flush=True)
            time.sleep(60)
        write.write_manifest(directory, tiny_manifest())
    """
)


@pytest.fixture
def writer():
    """Starts a process that stops in the middle of writing a bundle; gives it once it is there."""
    processes = []

    def start(target, stop):
        process = subprocess.Popen([sys.executable, "-c", WRITER, target, stop], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_the_next_run_removes_what_a_killed_one_left(tmp_path, writer):
    kill(writer(tmp_path / "tiny", "staging"))
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".tiny.tmp-")
    other = tmp_path / ".other.tmp-1234"
    other.mkdir()
    build_tiny_bundle(tmp_path / "tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp-1234", "tiny"]


def test_the_next_run_puts_back_a_bundle_that_a_killed_one_had_moved_aside(tmp_path, writer):
    target = build_tiny_bundle(tmp_path / "tiny")
    before = contents(target)
    kill(writer(target, "between-renames"))
    assert not target.exists()
    with pytest.raises(OutputError, match="exists already"):
        build_tiny_bundle(target)
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_run_that_works_is_left_alone_by_another(tmp_path, writer):
    process = writer(tmp_path / "tiny", "staging")
    build_tiny_bundle(tmp_path / "tiny")
    assert process.poll() is None
    names = [path.name for path in tmp_path.iterdir()]
    assert len([name for name in names if name.startswith(".tiny.tmp-")]) == 1
    assert open_bundle(tmp_path / "tiny")


def test_of_two_writers_without_force_the_slower_is_refused(tmp_path):
    target = tmp_path / "tiny"
    slower = dataclasses.replace(tiny_manifest(), name="slower")
    with pytest.raises(OutputError, match="tiny: exists already; choose another output or replace it with --force"):
        write_bundle(target, manifest=slower, then=lambda directory: build_tiny_bundle(target))
    assert open_bundle(target).manifest.name == "tiny-en-de"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_target_that_appears_at_the_last_moment_is_not_replaced(tmp_path, monkeypatch):
    target = tmp_path / "tiny"
    monkeypatch.setattr(write, "_check_target", lambda *args: None)
    monkeypatch.setattr(write.os.path, "lexists", lambda path: False)
    build_tiny_bundle(target)
    with pytest.raises(OutputError, match="tiny: exists already"):
        build_tiny_bundle(target)


def test_two_writers_cannot_replace_a_bundle_at_the_same_moment(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    locks = []
    with pytest.raises(OutputError, match="tiny: another run is replacing it at this moment; try again"):
        write_bundle(target, force=True, then=lambda directory: locks.append(DirectoryLock.acquire(target)))
    locks[0].release()
    assert open_bundle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_many_writers_at_once_leave_one_whole_bundle(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgekit.errors import OutputError\n"
        "from tests.bundle.tiny_bundle import build_tiny_bundle\n"
        "for _ in range(10):\n"
        "    try:\n        build_tiny_bundle(Path(sys.argv[1]), force=True)\n"
        "    except OutputError:\n        pass\n"
    )
    target = tmp_path / "tiny"
    processes = [subprocess.Popen([sys.executable, "-c", code, target], stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.communicate()[1] == b""
    assert open_bundle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_where_directories_cannot_be_locked_only_old_leftovers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(DirectoryLock, "acquire", classmethod(lambda cls, path: cls(path, None)))
    for name, age_s in ((".tiny.tmp-old", 100_000), (".tiny.tmp-new", 100)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    build_tiny_bundle(tmp_path / "tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tiny.tmp-new", "tiny"]


@pytest.mark.parametrize("taken", [False, True], ids=["nothing at the target", "another bundle at the target"])
def test_a_replacement_that_fails_half_way_leaves_a_bundle_and_nothing_else(tmp_path, monkeypatch, taken):
    target = build_tiny_bundle(tmp_path / "tiny")

    def rename(staging, target):
        if taken:
            monkeypatch.undo()
            build_tiny_bundle(target)
        raise OSError(errno.EIO, "Input/output error", str(staging))

    monkeypatch.setattr(write, "_rename", rename)
    with pytest.raises(OutputError, match="cannot write the bundle: Input/output error"):
        build_tiny_bundle(target, force=True)
    assert open_bundle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
