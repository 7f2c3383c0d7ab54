"""The measuring side of a worker: starts `edgekit.bench.worker`, asks it, and ends it whatever happens.

In: a bundle and a number of threads. Out: replies as Python values. A worker that dies, answers nonsense or takes too
long raises `WorkerError` with the last line that it wrote to stderr; it is killed and never started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import edgekit
from edgekit.errors import EdgekitError

__all__ = ["WorkerError", "WorkerProcess", "worker_command", "worker_environment"]

STDERR_LINES_KEPT = 50
QUIT_SECONDS = 5

# What numpy's BLAS and the tokenizers' thread pool read: the declared number of threads holds for them too.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


class WorkerError(EdgekitError):
    """A measured process that ended early, did not answer in time, or could not run its bundle."""


def worker_command(bundle: Path, threads: int) -> list[str]:
    """The command line of a worker."""
    # -P: a json.py or numpy.py in the current directory must not be imported instead.
    return [sys.executable, "-P", "-m", "edgekit.bench.worker", str(bundle), str(threads)]


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of a worker: ours, this edgekit first on the path, and the declared number of threads."""
    package_root = str(Path(edgekit.__file__).resolve().parent.parent)
    search = [package_root, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
    }


class WorkerProcess:
    """A started worker; use it in a ``with`` block, which ends the process.

    Attributes:
        import_ms: Time that importing edgekit and its runtime took in the worker.
        load_ms: Time of `edgekit.load` itself.
        pid: Its process id.
    """

    def __init__(self, bundle: Path, threads: int, timeout_s: float, command: Sequence[str] | None = None) -> None:
        """Start the worker and wait until the bundle is loaded.

        Args:
            bundle: The bundle's directory.
            threads: Threads for one inference.
            timeout_s: Seconds that the load, and each request after it, may take.
            command: Another program that speaks the protocol; None starts `edgekit.bench.worker`.

        Raises:
            WorkerError: The worker could not start or load the bundle, or not in time.
        """
        self._bundle = bundle
        self._timeout_s = timeout_s
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        self._replies: queue.Queue[str | None] = queue.Queue()
        try:
            self._process = subprocess.Popen(
                command or worker_command(bundle, threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=worker_environment(threads),
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise WorkerError(f"measuring {bundle}: cannot start the measured process: {error}") from None
        self.pid = self._process.pid
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._stdin = stdin
        self._readers = [
            threading.Thread(target=self._collect_replies, args=(stdout,), daemon=True),
            threading.Thread(target=self._stderr.extend, args=(stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            started = self._receive("loading")
            self.import_ms, self.load_ms = float(started["import_ms"]), float(started["load_ms"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, do: str, **values: Any) -> dict[str, Any]:
        """The worker's reply to one request.

        Args:
            do: What to do; see `edgekit.bench.worker`.
            **values: The request's other fields.

        Raises:
            WorkerError: The worker has ended, answers nonsense or with an error, or takes too long.
        """
        # A worker that has ended breaks the pipe; the reply that is missing says why.
        with contextlib.suppress(OSError):
            self._stdin.write(json.dumps({"do": do, **values}) + "\n")
            self._stdin.flush()
        return self._receive(do)

    def close(self) -> None:
        """End the process: by the end of its input, and after a few seconds by force."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(QUIT_SECONDS)

    def _collect_replies(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._replies.put(line)
        self._replies.put(None)

    def _receive(self, doing: str) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=self._timeout_s)
        except queue.Empty:
            self._process.kill()
            raise self._failure(f"no answer to {doing} within {self._timeout_s:g} s; the process was ended") from None
        if line is None:
            status = self._process.wait()
            ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            memory = " (out of memory?)" if status == -9 else ""
            raise self._failure(f"the measured process {ended}{memory} while {doing}")
        try:
            reply = json.loads(line)
            if not isinstance(reply, dict):
                raise ValueError
        except ValueError:
            raise self._failure(f"expected a JSON object in answer to {doing}, found {line[:80]!r}") from None
        if "error" in reply:
            raise WorkerError(f"measuring {self._bundle}: {reply['error']}")
        return reply

    def _failure(self, what: str) -> WorkerError:
        self._readers[1].join(QUIT_SECONDS if self._process.poll() is not None else 0.1)
        last = next((line.strip() for line in reversed(self._stderr) if line.strip()), "")
        return WorkerError(f"measuring {self._bundle}: {what}" + (f"; its last line: {last}" if last else ""))
