import dataclasses
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from edgekit.bundle import write
from edgekit.bundle.locks import DirectoryLock
from edgekit.bundle.read import open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import BundleError, OutputError
from tests.bundle.tiny_bundle import build_tiny_bundle, encoder_model, fill, tiny_manifest


def write_bundle(target, force=False, manifest=None, encoder=None, then=lambda directory: None):
    """Writes the tiny bundle, or a variant; ``then`` is the last that happens before the block ends."""
    with stage_bundle(target, force=force) as directory:
        fill(directory, encoder)
        write_manifest(directory, manifest or tiny_manifest())
        then(directory)


def raising(exception):
    def fail(directory):
        raise exception

    return fail


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_written_bundle_can_be_opened(tmp_path):
    target = tmp_path / "tiny"
    with stage_bundle(target) as directory:
        assert directory.parent == tmp_path
        assert not target.exists()
        fill(directory)
        written = write_manifest(directory, tiny_manifest())
    assert open_bundle(target).manifest == written
    assert dataclasses.replace(written, files={}) == tiny_manifest()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first, second = (build_tiny_bundle(tmp_path / name) for name in ("first", "second"))
    assert contents(first) == contents(second)


def test_a_bundle_has_the_permissions_of_a_plain_directory(tmp_path):
    (tmp_path / "plain").mkdir()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (build_tiny_bundle(tmp_path / "tiny"), tmp_path / "plain")]
    assert modes[0] == modes[1]


def test_missing_parents_are_made_and_removed_again_on_a_failure(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), stage_bundle(tmp_path / "a" / "b" / "tiny"):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    assert open_bundle(build_tiny_bundle(tmp_path / "a" / "b" / "tiny"))


@pytest.mark.parametrize("exception", [RuntimeError("stop"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_nothing_is_left_of_a_run_that_fails(tmp_path, exception):
    with pytest.raises(type(exception)):
        write_bundle(tmp_path / "tiny", then=raising(exception))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_the_old_bundle_as_it_was(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    before = contents(target)
    with pytest.raises(RuntimeError, match="stop"):
        write_bundle(target, force=True, then=raising(RuntimeError("stop")))
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_existing_target_is_kept_without_force(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    before = contents(target)
    with pytest.raises(OutputError, match="tiny: exists already; choose another output or replace it with --force"):
        build_tiny_bundle(target)
    assert contents(target) == before


def test_an_existing_target_is_refused_before_any_work(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(OutputError, match="exists already"), stage_bundle(target):
        pytest.fail("the block must not run")


def test_force_replaces_a_bundle(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    (target / ".DS_Store").write_text("")
    with stage_bundle(target, force=True) as directory:
        fill(directory)
        (directory / "NOTICE").write_text("new")
        write_manifest(directory, dataclasses.replace(tiny_manifest(), name="new"))
        assert open_bundle(target).manifest.name == "tiny-en-de"
    assert open_bundle(target).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("schema_version", [0, 1, 2])
def test_force_replaces_a_damaged_bundle_and_one_of_another_version(tmp_path, schema_version):
    target = tmp_path / "tiny"
    target.mkdir()
    (target / "bundle.json").write_text(json.dumps({"schema_version": schema_version, "files": {"model.onnx": 1}}))
    (target / "model.onnx").write_bytes(b"")
    assert open_bundle(build_tiny_bundle(target, force=True))


def test_force_fills_an_empty_directory(tmp_path):
    (tmp_path / "tiny").mkdir()
    assert open_bundle(build_tiny_bundle(tmp_path / "tiny", force=True))


def _home(target):
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    return "it is not an edgekit bundle"


def _other_json(target):
    _home(target)
    (target / "bundle.json").write_text('{"name": "of a JavaScript bundler"}')
    return "it is not an edgekit bundle"


def _nested_json(target):
    _home(target)
    (target / "bundle.json").write_text("[" * 50_000)
    return "it is not an edgekit bundle"


def _bundle_with_notes(target):
    build_tiny_bundle(target)
    (target / "notes.txt").write_text("mine")
    return "it holds 'notes.txt', which is no part of the bundle"


def _bundle_with_folder(target):
    build_tiny_bundle(target)
    (target / "LICENSE").unlink()
    (target / "experiments").mkdir()
    return "it holds 'experiments', which is no part of the bundle"


def _file(target):
    target.write_text("mine")
    return "it is not a directory"


def _link(target):
    target.symlink_to(build_tiny_bundle(target.with_name("real")))
    return "it is not a directory"


@pytest.mark.parametrize(
    "make", [_home, _other_json, _nested_json, _bundle_with_notes, _bundle_with_folder, _file, _link]
)
def test_force_does_not_replace_what_is_more_than_a_bundle(tmp_path, make):
    target = tmp_path / "target"
    reason = make(target)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"not replaced, because {reason}; choose another output or remove it"):
        build_tiny_bundle(target, force=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_appears_in_the_old_bundle_meanwhile_is_not_deleted(tmp_path):
    target = build_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(OutputError, match=r"it holds 'notes\.txt'"):
        write_bundle(target, force=True, then=lambda directory: (target / "notes.txt").write_text("mine"))
    assert (target / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, code):
    with pytest.raises(OutputError, match=f"tiny: cannot write the bundle: {os.strerror(code)}; nothing was written"):
        write_bundle(tmp_path / "tiny", then=raising(OSError(code, os.strerror(code))))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_syncing_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def sync_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "sync_file", sync_file)
    with pytest.raises(OutputError, match="cannot write the bundle: No space left on device"):
        build_tiny_bundle(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_write_error_inside_the_staging_directory_is_one_line(tmp_path):
    with (
        pytest.raises(OutputError, match="cannot write the bundle: No such file or directory; nothing was written"),
        stage_bundle(tmp_path / "tiny") as directory,
    ):
        (directory / "missing" / "file").write_text("")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("save", ["path.write_bytes(bytes(1 << 20))", "save_file({'w': np.zeros(1 << 20)}, path)"])
def test_a_disk_that_takes_no_more_is_one_line_whatever_library_writes(tmp_path, save):
    code = (
        "import resource, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from safetensors.numpy import save_file\nfrom edgekit.bundle.write import stage_bundle\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        f"with stage_bundle(Path(sys.argv[1])) as directory:\n    path = directory / 'w'\n    {save}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tiny"], capture_output=True, text=True, check=False
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith("edgekit.errors.OutputError: ")
    assert last.endswith("tiny: cannot write the bundle: File too large; nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_reading_elsewhere_is_not_taken_for_one_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError), stage_bundle(tmp_path / "tiny"):
        (tmp_path / "checkpoint.bin").read_bytes()


@pytest.mark.parametrize("target", ["file/tiny", "x" * 300, "\0", "/"])
def test_a_target_that_cannot_be_written_is_one_line(tmp_path, target):
    (tmp_path / "file").write_text("")
    message = "cannot make this directory|cannot write the bundle|expected the path of a new directory"
    with pytest.raises(OutputError, match=message):
        build_tiny_bundle(tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_parent_that_is_not_writable_is_one_line(tmp_path, monkeypatch):
    def mkdir(path, *args, **kwargs):  # root may write anywhere, so permissions alone would not fail
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(write.Path, "mkdir", mkdir)
    with pytest.raises(OutputError, match="cannot make this directory: Permission denied; choose another output"):
        build_tiny_bundle(tmp_path / "tiny")


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path):
    manifest = dataclasses.replace(tiny_manifest(), kind="classifier")
    with pytest.raises(BundleError, match="kind: expected seq2seq or causal-lm, found 'classifier'"):
        write_bundle(tmp_path / "tiny", manifest=manifest)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_reaches_out_is_not_written(tmp_path):
    with pytest.raises(BundleError, match=r"found location '\.\./weights'; do not use"):
        write_bundle(tmp_path / "tiny", encoder=encoder_model(location="../weights"))
    assert list(tmp_path.iterdir()) == []


def test_forgetting_the_manifest_is_a_fault_of_the_caller(tmp_path):
    with pytest.raises(AssertionError, match="write_manifest"), stage_bundle(tmp_path / "tiny") as directory:
        fill(directory)
    assert list(tmp_path.iterdir()) == []


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
