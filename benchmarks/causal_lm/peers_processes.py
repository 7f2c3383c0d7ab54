"""Engines with a model each in processes of their own, for `peers.py` and `peers_quality.py`.

In: ``ENGINE:BITS:MODEL`` and the Python in which each engine is installed. Out: replies of `engine.py`. What cannot be
started is named on stderr and left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.bench.worker_process import worker_environment

ENGINE = Path(__file__).with_name("engine.py")
FIGURES = ("prefill_tokens_per_second", "decode_tokens_per_second")


@dataclass
class Contender:
    """An engine with a model, and its figures, one a round."""

    engine: str
    bits: int
    model: Path
    version: str = ""
    rounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})
    ids: list[list[int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``llama.cpp, SmolLM2.Q8_0.gguf``: what results call it, whatever its directory is."""
        return f"{self.engine}, {self.model.name}"


class Engine:
    """A started `engine.py`; a ``with`` block ends it.

    Raises:
        OSError: It ended, or could not be started; the text is its last line.
    """

    def __init__(self, contender: Contender, python: str, threads: int) -> None:
        command = [python, str(ENGINE), contender.engine, str(contender.model), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=subprocess.PIPE, text=True, env=worker_environment(threads)
        )
        contender.version = self._read()["version"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """The reply to one request."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            reply: dict[str, Any] = json.loads(line)
            return reply
        said = self._process.communicate()[1].strip().splitlines()
        raise OSError(said[-1] if said else f"status {self._process.returncode}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def parse_contenders(texts: list[str]) -> list[Contender]:
    """Contenders of ``ENGINE:BITS:MODEL``; two of one name are refused, since results go by it."""
    parts = [text.split(":", 2) for text in texts]
    contenders = [Contender(engine, int(bits), Path(model)) for engine, bits, model in parts]
    names = [contender.name for contender in contenders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"results go by the engine and the model's name, found twice: {'; '.join(twice)}; rename one")
    return contenders


def start_engines(
    contenders: list[Contender], pythons: list[str], threads: int, stack: ExitStack
) -> list[tuple[Contender, Engine]]:
    """Those that could be started; ``pythons`` are ``ENGINE=PATH``, and ``stack`` ends what runs."""
    installed = dict(pair.split("=", 1) for pair in pythons)
    running: list[tuple[Contender, Engine]] = []
    for contender in contenders:
        try:
            engine = Engine(contender, installed.get(contender.engine, sys.executable), threads)
        except OSError as error:
            print(f"{contender.name}: left out, {error}", file=sys.stderr)
            continue
        running.append((contender, stack.enter_context(engine)))
    return running
