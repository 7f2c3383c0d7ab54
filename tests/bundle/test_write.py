import dataclasses
import errno
import json
import os
import stat
import subprocess
import sys

import pytest

from edgekit.bundle import write
from edgekit.bundle.read import open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import BundleError, OutputError
from tests.bundle.tiny_bundle import build_tiny_bundle, contents, encoder_model, fill, tiny_manifest, write_bundle


def raising(exception):
    def fail(directory):
        raise exception

    return fail


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
