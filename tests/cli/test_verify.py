"""What `edgekit verify` says of whole and of damaged bundles."""

import re

import pytest

from edgekit.cli.main import run
from tests.bundle.tiny_bundle import build_tiny_bundle


@pytest.fixture
def bundle(tmp_path):
    return build_tiny_bundle(tmp_path / "tiny-en-de-fp32")


def verify(path):
    with pytest.raises(SystemExit) as stopped:
        run(["verify", str(path)])
    return stopped.value.code


def test_a_whole_bundle_is_one_line_a_file_and_status_0(bundle, capsys):
    assert verify(bundle) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "ok    LICENSE  11 bytes",
        "ok    decoder.onnx  374 bytes",
        "ok    encoder.onnx  253 bytes",
        "ok    tokenizer.json  18 bytes",
        "ok    weights.safetensors  177 bytes",
    ]
    assert captured.err == ""


def test_a_damaged_byte_is_a_finding_and_status_1(bundle, capsys):
    data = bytearray((bundle / "weights.safetensors").read_bytes())
    data[100] ^= 1
    (bundle / "weights.safetensors").write_bytes(data)
    assert verify(bundle) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["ok  ", "ok  ", "ok  ", "ok  ", "FAIL"]
    assert re.fullmatch(
        r"FAIL  weights\.safetensors  .*: expected SHA-256 \w{64}, found \w{64}: the file is damaged .*", lines[-1]
    )


def test_a_foreign_file_is_a_finding_whose_name_cannot_move_the_cursor(bundle, capsys):
    (bundle / "x\x1b[2J\ny").write_text("")
    assert verify(bundle) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(r"FAIL  x\x1b[2J y  ")
    assert last.endswith("expected only files that the manifest lists; delete it")


def test_what_file_managers_leave_is_no_finding(bundle, capsys):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (bundle / name).write_text("")
    assert verify(bundle) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_name_is_looked_up_like_the_runtime_does(bundle, monkeypatch, capsys):
    monkeypatch.chdir(bundle.parent)
    assert verify("tiny-en-de") == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_what_is_no_bundle_is_one_line_on_stderr(tmp_path, capsys):
    assert verify(tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"edgekit: .* has no bundle\.json; if it is a checkpoint, .*\n", captured.err)


def test_an_unusable_manifest_is_one_line_on_stderr(bundle, capsys):
    (bundle / "bundle.json").write_text("{")
    assert verify(bundle) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"edgekit: .*bundle\.json: expected JSON, found at line 1 .*; export the model again\n", captured.err
    )
