import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from edgekit.bundle import read, verified
from edgekit.bundle.read import FileCheck, open_bundle, verify_bundle
from edgekit.errors import BundleError, ModelNotFoundError
from tests.bundle.tiny_bundle import build_tiny_bundle, encoder_model, tiny_manifest

NAMES = ["LICENSE", "decoder.onnx", "encoder.onnx", "tokenizer.json", "weights.safetensors"]


@pytest.fixture
def settled(monkeypatch):
    """Files count as old enough to be remembered at once."""
    monkeypatch.setattr(verified, "SETTLED_NS", -1_000_000_000)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed, in order."""
    names = []
    real = read.hash_file

    def hash_file(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(read, "hash_file", hash_file)
    return names


def flip_a_byte(path):
    """Changes one byte and sets the time of the change back, as a fault of the disk would."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_manifest(bundle, change):
    values = json.loads((bundle / "bundle.json").read_text())
    change(values)
    (bundle / "bundle.json").write_text(json.dumps(values))


def test_an_opened_bundle_runs_in_onnxruntime(tiny_bundle):
    bundle = open_bundle(str(tiny_bundle))
    encoder = onnxruntime.InferenceSession(bundle.file("encoder.onnx"))
    decoder = onnxruntime.InferenceSession(bundle.file("decoder.onnx"))
    (memory,) = encoder.run(None, {"input_ids": np.array([[2, 3, 0]])})
    state = np.zeros((1, 4), np.float32)
    next_ids, present = decoder.run(None, {"cross_memory_0": memory, "past_state_0": state})
    assert present.tolist() == [[8 + 12 + 0, 9 + 13 + 1, 10 + 14 + 2, 11 + 15 + 3]]
    assert next_ids.tolist() == list(bundle.manifest.self_check.output_ids)


def test_an_opened_bundle_knows_its_files(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    assert bundle.path == tiny_bundle.resolve()
    assert sorted(bundle.manifest.files) == NAMES
    assert bundle.size_bytes == sum((tiny_bundle / name).stat().st_size for name in NAMES)
    assert bundle.file("LICENSE").read_text() == "Apache-2.0\n"


def test_a_file_that_the_manifest_does_not_list_is_refused(tiny_bundle):
    (tiny_bundle / "notes.txt").write_text("mine")
    bundle = open_bundle(tiny_bundle)
    for name in ("notes.txt", "bundle.json", "../x"):
        with pytest.raises(BundleError, match=r"expected a file that the manifest lists, found '"):
            bundle.file(name)


def test_nothing_at_the_path_is_a_model_not_found(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"absent: expected a bundle, found nothing; check the path"):
        open_bundle(tmp_path / "absent")
    with pytest.raises(ModelNotFoundError, match="expected the path of a bundle, found"):
        open_bundle("a\0b")


def test_a_directory_or_file_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"expected a bundle, a directory with bundle\.json, found none"):
        open_bundle(tmp_path)
    (tmp_path / "plain.txt").write_text("")
    with pytest.raises(BundleError, match=r"plain\.txt: expected a packed bundle, found another kind of file"):
        open_bundle(tmp_path / "plain.txt")


def test_a_manifest_that_is_no_regular_file_or_no_text_is_refused(tmp_path):
    (tmp_path / "bundle.json").mkdir()
    with pytest.raises(BundleError, match=r"bundle\.json: expected a regular file, found another kind"):
        open_bundle(tmp_path)
    (tmp_path / "bundle.json").rmdir()
    (tmp_path / "bundle.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BundleError, match=r"bundle\.json: expected UTF-8, found other bytes; export the model again"):
        open_bundle(tmp_path)
    (tmp_path / "bundle.json").unlink()
    (tmp_path / "bundle.json").symlink_to("bundle.json")
    with pytest.raises(BundleError, match=r"bundle\.json: expected a file of the bundle, found"):
        open_bundle(tmp_path)


def test_a_manifest_of_gigabytes_is_refused_without_reading_it(tiny_bundle):
    os.truncate(tiny_bundle / "bundle.json", 8 << 30)  # sparse: takes no room
    with pytest.raises(BundleError, match="expected at most 4194304 bytes"):
        open_bundle(tiny_bundle)


def test_a_missing_file_is_named(tiny_bundle):
    (tiny_bundle / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected a file of the bundle, found No such file"):
        open_bundle(tiny_bundle)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_wrong_size_is_named(tiny_bundle, name):
    size_bytes = (tiny_bundle / name).stat().st_size
    os.truncate(tiny_bundle / name, size_bytes - 1)
    with pytest.raises(BundleError, match=f"{name}: expected {size_bytes} bytes, found {size_bytes - 1}; export"):
        open_bundle(tiny_bundle)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_found_on_the_first_load(tiny_bundle, name):
    flip_a_byte(tiny_bundle / name)
    with pytest.raises(BundleError, match=f"{name}: expected SHA-256 [0-9a-f]{{64}}, found .* is damaged or changed"):
        open_bundle(tiny_bundle)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_found_after_a_verified_load(tiny_bundle, name, settled, hashed):
    open_bundle(tiny_bundle)
    flip_a_byte(tiny_bundle / name)
    with pytest.raises(BundleError, match=f"{name}: expected SHA-256"):
        open_bundle(tiny_bundle)


def test_hashes_are_checked_on_the_first_load_only(tiny_bundle, settled, hashed):
    open_bundle(tiny_bundle)
    assert sorted(hashed) == NAMES
    open_bundle(tiny_bundle)
    assert sorted(hashed) == NAMES


def test_a_copied_or_replaced_file_is_hashed_again(tiny_bundle, settled, hashed):
    open_bundle(tiny_bundle)
    shutil.copy2(tiny_bundle / "LICENSE", tiny_bundle / "copy")
    os.replace(tiny_bundle / "copy", tiny_bundle / "LICENSE")
    open_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)


def test_a_rewritten_manifest_is_checked_again(tiny_bundle, settled, hashed):
    open_bundle(tiny_bundle)
    rewrite_manifest(tiny_bundle, lambda values: values.update(name="another"))
    assert open_bundle(tiny_bundle).manifest.name == "another"
    assert len(hashed) == 2 * len(NAMES)


def test_a_verified_bundle_does_not_vouch_for_another(tmp_path, tiny_bundle, settled, hashed):
    open_bundle(tiny_bundle)
    other = build_tiny_bundle(tmp_path / "other")
    open_bundle(other)
    assert len(hashed) == 2 * len(NAMES)


def test_files_younger_than_the_clock_can_tell_are_not_remembered(tiny_bundle, bundle_cache, hashed):
    open_bundle(tiny_bundle)
    open_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)
    assert not (bundle_cache / "verified").exists()


def test_the_note_of_a_verified_bundle_is_one_small_file_in_the_cache(tiny_bundle, bundle_cache, settled):
    for _ in range(3):
        open_bundle(tiny_bundle)
        flip_a_byte(tiny_bundle / "LICENSE")
        flip_a_byte(tiny_bundle / "LICENSE")
    (marker,) = (bundle_cache / "verified").iterdir()
    assert len(marker.read_bytes()) == 65
    assert sorted(path.name for path in tiny_bundle.iterdir()) == sorted([*NAMES, "bundle.json"])


@pytest.mark.parametrize("damage", [b"", b"\0" * 65, b"x" * 10_000])
def test_a_damaged_note_only_costs_hashing(tiny_bundle, bundle_cache, settled, hashed, damage):
    open_bundle(tiny_bundle)
    (marker,) = (bundle_cache / "verified").iterdir()
    marker.write_bytes(damage)
    open_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)
    open_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)


def test_an_unwritable_cache_only_costs_hashing(tiny_bundle, bundle_cache, settled, hashed):
    bundle_cache.rmdir()
    bundle_cache.write_text("a file where the directory should be")
    open_bundle(tiny_bundle)
    open_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)
    assert bundle_cache.read_text() == "a file where the directory should be"


def test_a_home_that_does_not_exist_only_costs_hashing(tiny_bundle, monkeypatch, settled, hashed, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", "~no-such-user/cache")
    open_bundle(tiny_bundle)
    assert len(hashed) == len(NAMES)


def test_a_read_only_bundle_is_opened_and_remembered(tiny_bundle, settled, hashed):
    for path in [*tiny_bundle.iterdir(), tiny_bundle]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        open_bundle(tiny_bundle)
        open_bundle(tiny_bundle)
    finally:
        tiny_bundle.chmod(0o755)
    assert len(hashed) == len(NAMES)


def test_a_link_out_of_the_bundle_is_refused(tmp_path, tiny_bundle):
    outside = tmp_path / "secret"
    os.replace(tiny_bundle / "LICENSE", outside)
    (tiny_bundle / "LICENSE").symlink_to(outside)
    with pytest.raises(BundleError, match=r"LICENSE: expected a file inside the bundle, found a link out of it"):
        open_bundle(tiny_bundle)
    (tiny_bundle / "LICENSE").unlink()
    (tiny_bundle / "LICENSE").symlink_to("../secret")
    with pytest.raises(BundleError, match=r"LICENSE: expected a file inside the bundle, found a link out of it"):
        open_bundle(tiny_bundle)


def test_a_link_that_replaces_a_file_after_opening_is_refused(tmp_path, tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    os.replace(tiny_bundle / "LICENSE", tmp_path / "secret")
    (tiny_bundle / "LICENSE").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="found a link out of it; do not use this bundle"):
        bundle.file("LICENSE")


def test_a_link_within_the_bundle_and_a_link_to_the_bundle_are_followed(tmp_path, tiny_bundle):
    os.replace(tiny_bundle / "LICENSE", tiny_bundle / "COPYING")
    (tiny_bundle / "LICENSE").symlink_to("COPYING")
    (tmp_path / "link").symlink_to(tiny_bundle)
    bundle = open_bundle(tmp_path / "link")
    assert bundle.path == tiny_bundle.resolve()
    assert bundle.file("LICENSE").read_text() == "Apache-2.0\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_regular_file_is_refused_without_waiting(tiny_bundle, make):
    (tiny_bundle / "LICENSE").unlink()
    make(tiny_bundle / "LICENSE")
    with pytest.raises(BundleError, match=r"LICENSE: expected a regular file, found another kind; do not use"):
        open_bundle(tiny_bundle)


def test_a_graph_that_reaches_out_is_refused_though_all_hashes_are_right(tiny_bundle, settled):
    data = encoder_model(location="../../etc/passwd").SerializeToString()
    (tiny_bundle / "encoder.onnx").write_bytes(data)

    def accept(values):
        size_bytes, sha256 = read.hash_file(tiny_bundle / "encoder.onnx")
        values["files"]["encoder.onnx"] = {"size_bytes": size_bytes, "sha256": sha256}

    rewrite_manifest(tiny_bundle, accept)
    for _ in range(2):  # a refused bundle is not remembered as verified
        with pytest.raises(BundleError, match=r"encoder\.onnx: .*found location '\.\./\.\./etc/passwd'; do not use"):
            open_bundle(tiny_bundle)
    (finding,) = [check.finding for check in verify_bundle(tiny_bundle) if not check.ok]
    assert "found location '../../etc/passwd'" in finding


def test_verify_finds_a_whole_bundle_whole(tiny_bundle):
    assert verify_bundle(tiny_bundle) == [
        FileCheck(name, True, (tiny_bundle / name).stat().st_size, None) for name in NAMES
    ]


def test_verify_hashes_though_the_bundle_is_remembered(tiny_bundle, settled, hashed):
    open_bundle(tiny_bundle)
    verify_bundle(tiny_bundle)
    assert len(hashed) == 2 * len(NAMES)


def test_verify_reports_every_finding_at_once(tiny_bundle):
    flip_a_byte(tiny_bundle / "weights.safetensors")
    (tiny_bundle / "tokenizer.json").unlink()
    os.truncate(tiny_bundle / "LICENSE", 3)
    (tiny_bundle / "evil.so").write_bytes(b"1234567")
    checks = {check.name: check for check in verify_bundle(tiny_bundle)}
    assert [name for name, check in checks.items() if not check.ok] == [
        "LICENSE",
        "tokenizer.json",
        "weights.safetensors",
        "evil.so",
    ]
    assert "expected 11 bytes, found 3" in checks["LICENSE"].finding
    assert "found No such file or directory" in checks["tokenizer.json"].finding
    assert "the file is damaged or changed" in checks["weights.safetensors"].finding
    assert checks["evil.so"] == FileCheck(
        "evil.so", False, 7, f"{tiny_bundle / 'evil.so'}: expected only files that the manifest lists; delete it"
    )


def test_verify_refuses_what_has_no_manifest(tmp_path):
    with pytest.raises(BundleError, match="expected a bundle, a directory with"):
        verify_bundle(tmp_path)


def test_reading_needs_nothing_but_the_standard_library(tiny_bundle):
    code = (
        "import sys, os\n"
        "from edgekit.bundle.read import open_bundle, verify_bundle\n"
        "print(open_bundle(sys.argv[1]).manifest.name, all(check.ok for check in verify_bundle(sys.argv[1])))\n"
        "third_party = {'numpy', 'onnx', 'onnxruntime', 'tokenizers', 'click', 'rich', 'google', 'safetensors'}\n"
        "print(sorted(third_party & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, tiny_bundle], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"{tiny_manifest().name} True", "[]"]
