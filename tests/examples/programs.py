"""Runs the examples as a reader of docs/bundle-format.md would, and says what is missing where they can't run."""

import functools
import gzip
import os
import shutil
import subprocess
from pathlib import Path

import edgekit
from edgekit.runtime import Translator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BUILD = EXAMPLES / "build"
SETUP = "run `examples/setup PYTHON` first (CONTRIBUTING.md, Examples)"
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Nothing to translate, white space to keep or drop, names of control pieces, characters that no vocabulary has.
ODD_LINES = [
    "",
    " ",
    "\t",
    "...",
    "😀 🎉",
    "  Two  spaces.  ",
    "</s> Tom <unk> <pad>",
    "中文 is Chinese.",
    "e\u0301te\u0301 ﬁn ½",
]


def need(path: Path) -> Path:
    """A file that `examples/setup` makes."""
    assert path.exists(), f"{path.relative_to(ROOT)} is missing; {SETUP}"
    return path


def need_program(*names: str) -> str:
    """The first of these programs that is installed."""
    found = next((path for path in map(shutil.which, names) if path), None)
    assert found, f"the tests of the examples need one of {', '.join(names)}; install it"
    return found


def chromium() -> str:
    return os.environ.get("CHROMIUM") or need_program(*CHROMIUMS)


def run(*command: str | Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], input=text, capture_output=True, encoding="utf-8", check=False, timeout=300
    )


def output(*command: str | Path, text: str) -> str:
    result = run(*command, text=text)
    assert result.returncode == 0, result.stderr
    return result.stdout


@functools.cache
def translator(bundle: str) -> Translator:
    return edgekit.load(need(BUILD / bundle))


@functools.cache
def sentences(pair: str, count: int) -> tuple[str, ...]:
    """Tatoeba's and, one in five, flores-dev's longer ones; those that the model takes whole."""
    lines: list[str] = []
    for name, share in (("tatoeba", count - count // 5), ("flores-dev", count // 5)):
        path = ROOT / "edgekit" / "quality" / "testsets" / f"{name}.{pair}.tsv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            lines += [next(file).partition("\t")[0] for _ in range(share)]
    return tuple(lines)


@functools.cache
def expected(bundle: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """edgekit's own translations."""
    # The examples translate a line as one, and leave what is in it to the model.
    return tuple(translator(bundle).translate(list(texts), split=False, protect=False))
