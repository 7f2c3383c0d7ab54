"""`edgekit translate`: arguments or a stream of lines; one line out for one line in, whatever a line holds."""

import os
import select
import subprocess
import sys

import pytest

from edgekit.runtime import load
from tests.cli.command import assert_fails, edgekit, edgekit_here

LINES = ["Good morning!", "Yes.", "No."]
TRANSLATIONS = ["Guten Morgen!", "Ja.", "Nein."]


def test_arguments_are_translated_in_order(embedded_int8):
    done = edgekit("translate", embedded_int8, *LINES)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, TRANSLATIONS, "")


def test_lines_of_stdin_are_translated_in_order(embedded_int8):
    done = edgekit("translate", embedded_int8, stdin="\n".join(LINES) + "\n")
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, TRANSLATIONS, "")


def test_the_last_line_needs_no_newline_and_windows_ends_lines_too(embedded_int8):
    done = edgekit_here("translate", embedded_int8, stdin="\r\n".join(LINES))
    assert done.stdout.splitlines() == TRANSLATIONS


def test_no_line_gives_no_line(embedded_int8):
    done = edgekit_here("translate", embedded_int8, stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_line_comes_out_before_stdin_is_closed(embedded_int8):
    command = [sys.executable, "-m", "edgekit", "translate", str(embedded_int8)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for line, translation in zip(LINES, TRANSLATIONS, strict=True):
                process.stdin.write(f"{line}\n".encode())
                process.stdin.flush()
                assert select.select([process.stdout], [], [], 60)[0], "nothing came out"
                assert process.stdout.readline().decode().rstrip("\r\n") == translation
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_one_line_out_for_one_line_in_whatever_it_holds(embedded_int8):
    odd = [
        "",
        "   ",
        "\x00",
        "a\x00b",
        "😀",
        "\u2028",
        "a\u2028b",
        "\x0c",
        "\x1b[31mred",
        "</s>",
        "...",
        "x" * 2000,
        "Yes.",
    ]
    done = edgekit_here("translate", embedded_int8, stdin="\n".join(odd) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.removesuffix("\n").split("\n")
    assert len(lines) == len(odd)
    assert lines[4] == "😀"
    assert lines[-1] == "Ja."


def test_bytes_that_are_no_text_do_not_lose_the_other_lines(embedded_int8):
    done = edgekit_here("translate", embedded_int8, stdin=b"Good morning!\n\xff\xfe\xff\nYes.\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[::2] == ["Guten Morgen!", "Ja."]


def test_a_bad_line_comes_out_empty_and_loses_no_other(embedded_int8):
    done = edgekit_here("translate", embedded_int8, stdin="\n".join(["Yes.", "a" * 1_000_001, "No."]) + "\n")
    assert done.returncode == 1
    assert done.stdout == "Ja.\n\nNein.\n"
    first, last = done.stderr.splitlines()
    assert first.startswith("line 2: expected a text of at most 1000000 characters, found 1000001")
    assert last == "edgekit: 1 line could not be translated and came out empty"


def test_more_lines_than_wait_at_once_come_out_in_order(embedded_int8):
    lines = [f"{word} {number}" for number in range(350) for word in ("Yes.", "No.")]
    done = edgekit_here("translate", embedded_int8, stdin="\n".join(lines) + "\n")
    assert done.stdout.splitlines() == load(embedded_int8).translate(lines)


def test_threads_memory_and_max_length_are_passed_on(embedded_int8):
    text = "The children are playing in the garden behind the old house."
    done = edgekit_here("translate", embedded_int8, "--threads", "2", "--max-length", "3", "--low-memory", text)
    assert done.stdout == load(embedded_int8).translate(text, max_length=3) + "\n"


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--max-length", "0"], ["--precision", "int4"], ["--what"]])
def test_wrong_usage_has_status_2(embedded_int8, arguments):
    assert_fails(edgekit_here("translate", *arguments, embedded_int8, "Yes."), 2)
    assert_fails(edgekit_here("translate"), 2)


def test_an_unknown_model_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = edgekit_here("translate", "marian-en-dee", "Hello")
    assert_fails(done, 1, "no model is named 'marian-en-dee'; the closest names are marian-en-de")


def test_a_name_that_means_a_bundle_is_looked_up(embedded_int8):
    done = edgekit_here("translate", "marian-en-de-int8", "Yes.", cwd=embedded_int8.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Ja.\n", "")


def test_a_model_is_exported_into_the_cache_once_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.gate.default_scheme.CALIBRATION_TEXTS", 2)
    env = {"EDGEKIT_CACHE": str(tmp_path / "cache")}
    done = edgekit_here("translate", "marian-en-de", "Yes.", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Ja.\n")
    assert "exporting marian-en-de in int8 into the cache" in done.stderr
    assert os.listdir(tmp_path) == ["cache"]
    done = edgekit_here("translate", "marian-en-de", "Yes.", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Ja.\n")
    assert "exporting" not in done.stderr
    assert "made from embedded marian-en-de, not from hub" in done.stderr


def test_a_damaged_bundle_is_one_line(embedded_int8, tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    assert_fails(edgekit_here("translate", tmp_path, "Hello"), 1, "bundle.json")


@pytest.mark.skipif(os.name == "nt", reason="arguments are Unicode there")
def test_an_argument_that_is_no_text_is_translated_somehow(embedded_int8):
    done = edgekit("translate", embedded_int8, os.fsdecode(b"\xff"), os.fsdecode(b"Yes \xff"), "Yes.")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[::2] == ["\ufffd", "Ja."]


@pytest.mark.skipif(os.name == "nt", reason="no SIGPIPE there")
def test_a_reader_that_stops_ends_it_quietly(embedded_int8):
    command = f"yes 'Good morning!' | head -2000 | {sys.executable} -m edgekit translate {embedded_int8} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("Guten Morgen!\n", "")


def test_beams_translate_arguments_and_lines(embedded_int8):
    text = "Everything happens for a reason. The beach was packed with tourists. Getting started is always difficult."
    expected = load(embedded_int8).translate([text, "Yes."], beams=4)
    assert expected != load(embedded_int8).translate([text, "Yes."])
    done = edgekit_here("translate", embedded_int8, "--beams", "4", text, "Yes.")
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, expected, "")
    assert (
        edgekit_here("translate", embedded_int8, "--beams", "4", stdin=f"{text}\nYes.\n").stdout.splitlines()
        == expected
    )


def test_the_length_penalty_is_passed_on(embedded_int8):
    text = "A man is riding a bicycle on a street near the river."
    found = {
        penalty: edgekit_here(
            "translate", embedded_int8, "--beams", "4", "--length-penalty", penalty, text
        ).stdout.strip()
        for penalty in ("-2", "2")
    }
    assert len(found["-2"]) < len(found["2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beams", "0"], "beams must be a whole number from 1, found 0"),
        (["--beams", "65"], "beams must be a whole number from 1 to 64, found 65"),
        (["--beams", "2", "--length-penalty", "nan"], "length_penalty must be a number from -10 to 10, found nan"),
    ],
)
def test_beam_options_are_refused_in_one_line_before_any_text(embedded_int8, options, message):
    assert_fails(edgekit_here("translate", embedded_int8, *options, "Yes."), 1, message)
    assert_fails(edgekit_here("translate", embedded_int8, *options, stdin="Yes.\nNo.\n"), 1, message)


def test_a_second_model_that_does_not_fit_and_a_timeout_are_said_in_one_line(embedded_int8):
    done = edgekit_here("translate", embedded_int8, "--then", embedded_int8, "Yes.")
    assert_fails(done, 1, "pivot's second model must translate from de, which marian-en-de translates into")
    done = edgekit_here("translate", embedded_int8, "--timeout", "0.000001", "Yes.")
    assert_fails(done, 1, "the work took longer than its timeout of 1e-06 s")
