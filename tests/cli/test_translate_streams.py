"""What `edgekit translate` reads from and writes to: closed, unreadable, of another encoding, interrupted."""

import io
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from edgekit.cli.translate import _waiting_lines
from edgekit.errors import InputError
from tests.cli.command import edgekit, edgekit_here


def start(bundle, *texts, **streams):
    command = [sys.executable, "-m", "edgekit", "translate", str(bundle), *texts]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **{"stdin": subprocess.DEVNULL} | streams)


def test_a_closed_stdin_is_one_line_before_anything_is_exported(tmp_path):
    shell = f"exec {sys.executable} -m edgekit translate marian-en-de <&-"
    env = os.environ | {"EDGEKIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "edgekit: expected lines on stdin, found it closed; give texts as arguments, or a file with < FILE\n"
    )
    assert not (tmp_path / "cache" / "bundles").exists()


def test_a_closed_stdin_does_not_matter_to_arguments(embedded_int8):
    shell = f"exec {sys.executable} -m edgekit translate {embedded_int8} Yes. <&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Ja.\n", "")


def test_a_stdin_that_cannot_be_read_ends_it_in_one_line(embedded_int8, tmp_path):
    with open(tmp_path / "file", "wb") as file, start(embedded_int8, stdin=file, stdout=subprocess.PIPE) as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert error.decode().startswith("edgekit: stdin cannot be read: Bad file descriptor; give texts as arguments")
    assert error.count(b"\n") == 1


class Failing(io.BytesIO):
    """Two lines, then an exception."""

    def __init__(self, error):
        super().__init__(b"one\ntwo\n")
        self.error = error

    def readline(self, size=-1):
        if line := super().readline(size):
            return line
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(5, "Input/output error"), InputError, "stdin cannot be read: Input/output error; give texts"),
        (MemoryError("too long a line"), MemoryError, "too long a line"),
    ],
)
def test_an_exception_in_the_reading_thread_is_raised_after_the_lines_before_it(error, raised, message):
    lines = []

    def collect():
        for _, group in _waiting_lines(Failing(error)):
            lines.extend(group)

    with pytest.raises(raised, match=message):
        collect()
    assert lines == ["one", "two"]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr("edgekit.cli.translate.MAX_LINE_BYTES", 2**20)
    lines = []

    def collect():
        for _, group in _waiting_lines(io.BytesIO(b"one\n" + b"a" * (2**20 - 1) + b"\n" + bytes(2**21))):
            lines.extend(map(len, group))

    with pytest.raises(
        InputError, match=r"^expected lines of at most 1 MiB on stdin, found more in line 3; break it into"
    ):
        collect()
    assert lines == [3, 2**20 - 1]


def test_groups_are_numbered_by_their_first_line():
    stream = io.BytesIO(b"".join(b"%d\r\n" % number for number in range(1, 2001)))
    following = 1
    for number, lines in _waiting_lines(stream):
        assert number == following
        assert lines == [str(number + i) for i in range(len(lines))]
        following += len(lines)
    assert following == 2001


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_a_file_or_pipe_gets_utf_8_whatever_the_locale(embedded_int8, encoding):
    lines = ["Yes.", "\U0001f600", "No."]
    expected = edgekit_here("translate", embedded_int8, stdin="\n".join(lines)).stdout
    assert "\U0001f600" in expected
    for arguments, stdin in (([], "\n".join(lines)), (lines, "")):
        done = edgekit("translate", embedded_int8, *arguments, stdin=stdin, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_utf_16_is_refused_and_other_encodings_are_told_once():
    for mark in ("utf-16-le", "utf-16-be"):
        with pytest.raises(InputError, match=r"^expected UTF-8 on stdin, found UTF-16; iconv -f UTF-16 -t UTF-8 conv"):
            list(_waiting_lines(io.BytesIO("\ufeffYes.\n".encode(mark))))


def test_a_byte_order_mark_is_no_text_and_a_line_that_is_not_utf_8_is_named_once(capsys):
    stream = io.BytesIO(b"\xef\xbb\xbfYes.\r\ncaf\xe9\ncaf\xe9\n")
    assert [line for _, lines in _waiting_lines(stream) for line in lines] == ["Yes.", "caf\ufffd", "caf\ufffd"]
    assert capsys.readouterr().err == (
        "line 2 is not UTF-8, and its other characters are lost; "
        "iconv -f LATIN1 -t UTF-8 converts it if it is Latin-1\n"
    )


def read_terminal(descriptor):
    """All that was written to the other side, until it is closed or silent for a minute."""
    data = b""
    while select.select([descriptor], [], [], 60)[0]:
        try:
            part = os.read(descriptor, 4096)
        except OSError:  # Linux's way of saying that the other side is closed
            break
        if not part:
            break
        data += part
    return data


def test_a_line_that_a_terminal_cannot_show_does_not_lose_the_lines_after_it(embedded_int8, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    ours, theirs = pty.openpty()
    try:
        with start(embedded_int8, stdin=subprocess.PIPE, stdout=theirs) as process:
            os.close(theirs)
            process.stdin.write("Yes.\n\U0001f600\nNo.\n".encode())
            process.stdin.close()
            shown = read_terminal(ours)
            assert (process.wait(60), process.stderr.read()) == (0, b"")
    finally:
        os.close(ours)
    assert shown == b"Ja.\r\n?\r\nNein.\r\n"


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_while_waiting_for_a_line_is_status_130(embedded_int8):
    with start(embedded_int8, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"Yes.\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 60)[0], "nothing came out"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout.read() == b"Ja.\n"
        assert process.stderr.read().strip() == b""
