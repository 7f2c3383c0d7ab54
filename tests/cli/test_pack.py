"""`edgekit pack` and `unpack`, and that every command takes what they made."""

import json

from tests.cli.command import assert_fails, edgekit_here


def test_a_packed_bundle_is_a_bundle_for_every_command(embedded_int8, tmp_path):
    packed = tmp_path / "marian.edgekit"
    done = edgekit_here("pack", embedded_int8, packed)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{packed}\n", "")
    assert edgekit_here("translate", packed, "Good morning!").stdout == "Guten Morgen!\n"
    verified = edgekit_here("verify", packed)
    assert verified.returncode == 0
    assert verified.stdout == edgekit_here("verify", embedded_int8).stdout
    shown, expected = (json.loads(edgekit_here("inspect", path, "--json").stdout) for path in (packed, embedded_int8))
    assert shown | {"path": ""} == expected | {"path": ""}
    done = edgekit_here("unpack", packed, tmp_path / "unpacked")
    assert done.stdout == f"{tmp_path / 'unpacked'}\n"
    assert edgekit_here("verify", tmp_path / "unpacked").returncode == 0


def test_what_can_not_be_packed_is_said_in_one_line(embedded_int8, tmp_path):
    (tmp_path / "there").write_text("")
    assert_fails(edgekit_here("pack", embedded_int8, tmp_path / "there"), 1, "exists already; choose another output")
    assert_fails(edgekit_here("unpack", tmp_path / "there", tmp_path / "new"), 1, "is a file, but no packed bundle")
