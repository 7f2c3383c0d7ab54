"""The command line as a user runs it: a process of its own, or this one where many runs are needed."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from edgekit.cli.main import run

ROOT = Path(__file__).parents[2]


def edgekit(*args, stdin="", cwd=None, env=None, timeout=120):
    """Runs ``edgekit ARGS``; ``stdin`` is bytes or text. Output is text, invalid bytes escaped."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(os.fspath, args)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | (env or {}),
        timeout=timeout,
        check=False,
    )
    done.stdout, done.stderr = (stream.decode(errors="backslashreplace") for stream in (done.stdout, done.stderr))
    return done


def edgekit_here(*args, stdin=None, cwd=os.curdir, env=None):
    """As `edgekit`, in this process: faster. Without ``stdin`` it has this process's own."""
    stdout, stderr = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, "\n") for errors in ("strict", "backslashreplace")
    )
    with contextlib.ExitStack() as changed:
        changed.enter_context(contextlib.redirect_stdout(stdout))
        changed.enter_context(contextlib.redirect_stderr(stderr))
        changed.enter_context(contextlib.chdir(cwd))
        changed.enter_context(mock.patch.dict(os.environ, env or {}))
        if stdin is not None:
            file = changed.enter_context(tempfile.TemporaryFile())
            file.write(stdin.encode() if isinstance(stdin, str) else stdin)
            file.seek(0)
            changed.enter_context(mock.patch.object(sys, "stdin", file))
        try:
            run([os.fspath(argument) for argument in args])
        except SystemExit as stopped:
            status = stopped.code
    return subprocess.CompletedProcess(args, status, *(_written(stream) for stream in (stdout, stderr)))


def _written(stream):
    stream.flush()
    return stream.buffer.getvalue().decode(errors="backslashreplace")


def assert_fails(done, status, *words):
    """The exit status, nothing on stdout, and one line on stderr with these words (wrong usage: the last line)."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    lines = done.stderr.splitlines()
    if status == 1:
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("edgekit: ")
    assert [word for word in words if word not in lines[-1]] == [], done.stderr
    assert "Traceback" not in done.stderr
