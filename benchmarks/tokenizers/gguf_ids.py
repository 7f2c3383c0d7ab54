"""Counts the lines on which edgekit's ids for a GGUF vocabulary differ from transformers' and from llama.cpp's.

    python benchmarks/tokenizers/gguf_ids.py SmolLM2-135M-Instruct.Q4_1.gguf \
        --text wikitext=wikitext2-test-a.raw.txt.gz --text german=newstest2014.de.gz \
        --text portuguese=flores-dev.pt.gz --llama-cpp PYTHON --json smollm2.json

A text is NAME=FILE, one line each, or NAME=FILE:COLUMN of a ``.tsv``; files may be ``.gz``. Lines made here are added:
code, digits, emoji, CJK, odd white space and control characters, from a fixed seed. PYTHON is the interpreter of an
environment that has llama-cpp-python, an implementation that shares no code with the other two. Printed as a Markdown
table; README.md beside this file says what its columns are.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from tokenizers import pre_tokenizers

from edgekit.bundle.files import hash_file
from edgekit.export.gguf_config import read_architecture
from edgekit.export.sources.gguf_file import parse_gguf
from edgekit.export.tokenizer.gguf_vocabulary import read_gguf_vocabulary

COLUMNS = ("text", "lines", "transformers", "transformers_corrected", "llama_cpp", "not_restored")
# Run by the other interpreter: a JSON string a line in, a JSON list of ids a line out.
LLAMA_CPP = """
import json, sys
from llama_cpp import Llama
model = Llama(model_path=sys.argv[1], vocab_only=True, verbose=False)
for line in sys.stdin:
    print(json.dumps(model.tokenize(json.loads(line).encode(), add_bos=False, special=False)))
"""
WORDS = re.findall(
    r"\S+", "value index tokens häufig não naïve data self config café return Straße x_1 MAX_SIZE it's we'll"
)
SYMBOLS = "+-*/=<>!&|^%~@#$?:;,.()[]{}\"'`\\"
SPACES = " \t\n\r\u00a0\u2003\u3000\u200b\u2028\u0085\v\f"
EMOJI = "😀👍🏽🇺🇸❤️👩‍👩‍👧🏳️‍🌈🎉🫠☺️𝓗𠀋"
SCRIPTS = ((0x4E00, 0x9FFF), (0x3041, 0x30FF), (0xAC00, 0xD7A3), (0x0621, 0x064A), (0x0905, 0x0939), (0x0E01, 0x0E30))


def code(rng: random.Random) -> str:
    """Indented words and symbols."""
    parts = [rng.choice((*WORDS, *SYMBOLS, str(rng.randrange(1 << rng.randrange(1, 40))), " ")) for _ in range(20)]
    return rng.choice(("", "    ", "\t\t", "  ")) + rng.choice(("", " ")).join(parts)


def digits(rng: random.Random) -> str:
    """Runs of digits, of other scripts too, between words and runs of spaces."""
    runs = ("".join(rng.choices("0123456789٣४½²Ⅷ", k=rng.randrange(1, 12))) for _ in range(6))
    return "".join(run + rng.choice(("", " ", "  ", ", ", ".", " and ", "\n", "   x")) for run in runs)


def emoji(rng: random.Random) -> str:
    """Emoji of several code points, cut anywhere."""
    return "".join(rng.choice((rng.choice(EMOJI), rng.choice(WORDS), " ")) for _ in range(20))


def scripts(rng: random.Random) -> str:
    """Chinese, Japanese, Korean, Arabic, Devanagari and Thai, with ASCII between."""
    return "".join(
        rng.choice((chr(rng.randint(*rng.choice(SCRIPTS))), rng.choice(WORDS), "，", "。", " "))
        if rng.random() < 0.4
        else chr(rng.randint(*rng.choice(SCRIPTS)))
        for _ in range(20)
    )


def white_space(rng: random.Random) -> str:
    """Runs of every kind of space around words."""
    return "".join(rng.choice((*SPACES, rng.choice(WORDS), "7")) * rng.randrange(1, 4) for _ in range(12))


def control(rng: random.Random) -> str:
    """C0 and C1 control characters, private and unassigned code points, combining marks."""
    ranges = ((0, 0x1F), (0x7F, 0x9F), (0x300, 0x36F), (0xE000, 0xE0FF), (0x10FF00, 0x10FFFF))
    return "".join(rng.choice((chr(rng.randint(*rng.choice(ranges))), rng.choice(WORDS))) for _ in range(12))


MADE: dict[str, Callable[[random.Random], str]] = {
    "code": code,
    "digits": digits,
    "emoji": emoji,
    "scripts": scripts,
    "white space": white_space,
    "control characters": control,
}


def read_lines(path: str) -> Iterator[str]:
    """Distinct lines that are not empty, without their ends."""
    name, _, column = path.partition(":")
    with (gzip.open if name.endswith(".gz") else open)(name, "rt", encoding="utf-8", newline="\n") as file:
        lines = (line.rstrip("\n") for line in file)
        yield from dict.fromkeys(text for line in lines if (text := line.split("\t")[int(column)] if column else line))


def llama_cpp_ids(python: str, model: Path, lines: list[str]) -> list[list[int]]:
    """Ids by llama.cpp."""
    asked = "".join(json.dumps(line) + "\n" for line in lines)
    answer = subprocess.run(
        [python, "-c", LLAMA_CPP, str(model)], input=asked, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def corrected(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The tokenizer of transformers with the split and the model options of the model's own tokenizer.json."""
    document = json.loads(library.to_str())
    document["model"] |= {"unk_token": None, "fuse_unk": False, "byte_fallback": False}
    fixed = tokenizers.Tokenizer.from_str(json.dumps(document))
    fixed.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return fixed


def main() -> None:
    """Reads the arguments, compares, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", action="append", default=[], metavar="NAME=FILE[:COLUMN]")
    parser.add_argument("--lines", type=int, default=5000, help="in all, shared equally between the texts")
    parser.add_argument("--llama-cpp", metavar="PYTHON")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    each = arguments.lines // (len(arguments.text) + len(MADE))
    rng = random.Random(0)
    texts = {}
    for name, _, path in (text.partition("=") for text in arguments.text):
        texts[name] = [line for _, line in zip(range(each), read_lines(path), strict=False)]
    missing = arguments.lines - sum(map(len, texts.values())) - each * len(MADE)
    texts |= {
        name: [make(rng) for _ in range(each + (missing if name == "code" else 0))] for name, make in MADE.items()
    }

    file = parse_gguf(arguments.model)
    ours = tokenizers.Tokenizer.from_str(read_gguf_vocabulary(file, read_architecture(file)).tokenizer_json)
    theirs = transformers.AutoTokenizer.from_pretrained(arguments.model.parent, gguf_file=arguments.model.name)
    library = theirs.backend_tokenizer
    fixed = corrected(library)
    results: list[dict[str, Any]] = []
    for name, lines in texts.items():
        found = [ours.encode(line, add_special_tokens=False).ids for line in lines]
        others = {
            "transformers": [theirs(line, add_special_tokens=False).input_ids for line in lines],
            "transformers_corrected": [fixed.encode(line, add_special_tokens=False).ids for line in lines],
        }
        if arguments.llama_cpp:
            others["llama_cpp"] = llama_cpp_ids(arguments.llama_cpp, arguments.model, lines)
        row: dict[str, Any] = {"text": name, "lines": len(lines)}
        row |= {other: sum(a != b for a, b in zip(found, ids, strict=True)) for other, ids in others.items()}
        row["not_restored"] = sum(ours.decode(ids) != line for ids, line in zip(found, lines, strict=True))
        results.append(row)
    results.append(
        {"text": "all"}
        | {column: sum(row[column] for row in results) for column in list(results[0]) if column != "text"}
    )
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("---" for _ in COLUMNS), "|")
    for row in results:
        print("|", " | ".join(str(row.get(column, "–")) for column in COLUMNS), "|")
    if arguments.json:
        environment = {name: version(name) for name in ("tokenizers", "transformers", "gguf")}
        environment |= {"python": platform.python_version()}
        if arguments.llama_cpp:
            asked = "from importlib.metadata import version; print(version('llama-cpp-python'))"
            answer = subprocess.run([arguments.llama_cpp, "-c", asked], capture_output=True, text=True, check=True)
            environment["llama-cpp-python"] = answer.stdout.strip()
        model = {"file": arguments.model.name, "sha256": hash_file(arguments.model)[1]}
        document = {"schema_version": 1, "model": model, "environment": environment, "results": results}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
