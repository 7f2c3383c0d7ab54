"""Counts the sentences on which edgekit's ids differ from SentencePiece's and MarianTokenizer's, and times each.

    python benchmarks/tokenizers/compare.py --model firefox-en-pt=vocab.enpt.spm \
        --model marian-en-de=models/marian-en-de --text en=flores-dev:flores-dev.en.gz \
        --text de=debian-web:debian-web.tsv.gz:1 --json results.json

A model is a ``.spm`` file whose piece index is the id, or the directory of a Hugging Face Marian checkpoint, whose
source tokenizer is compared. A text is LANGUAGE=NAME:FILE, one sentence a line, or LANGUAGE=NAME:FILE:COLUMN of a
``.tsv``; files may be ``.gz``. Of each language, ``--sentences`` distinct ones are taken, the same number from each
file as far as it goes. Printed as a Markdown table; README.md beside this file says what its columns are.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import platform
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from transformers import MarianTokenizer

from edgekit.export.tokenizer import build_marian_tokenizers, build_tokenizer, vocab_size
from edgekit.runtime.tokenizer import Tokenizer

ROUNDS = 3
COLUMNS = (
    *("model", "language", "sentences", "ids", "marian_ids", "text", "library_ids"),
    *("edgekit_us", "sentencepiece_us", "library_us"),
)


def read_sentences(files: list[str], count: int) -> tuple[list[str], dict[str, int]]:
    """Returns distinct sentences and how many come from each NAME."""
    lines = {name: iter(_read_lines(Path(rest))) for name, rest in (file.split(":", 1) for file in files)}
    taken: dict[str, int] = defaultdict(int)
    sentences: dict[str, None] = {}
    for name in itertools.cycle(list(lines)):
        if len(sentences) == count or not lines:
            return list(sentences), dict(taken)
        if name in lines:
            if (line := next((line for line in lines[name] if line and line not in sentences), None)) is None:
                del lines[name]
            else:
                sentences[line] = None
                taken[name] += 1
    raise AssertionError


def _read_lines(path: Path) -> list[str]:
    name, _, column = str(path).partition(":")
    opener = gzip.open if name.endswith(".gz") else open
    with opener(name, "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    return [line.split("\t")[int(column)] for line in lines] if column else lines


class Model:
    """One vocabulary in every implementation compared."""

    def __init__(self, path: Path, scratch: Path) -> None:
        marian = path.is_dir()
        spm = path / "source.spm" if marian else path
        self.sentencepiece = sentencepiece.SentencePieceProcessor(model_file=str(spm))
        if marian:
            vocab = json.loads((path / "vocab.json").read_bytes())
            text = build_marian_tokenizers(spm.read_bytes(), (path / "target.spm").read_bytes(), vocab)[0]
            self.piece_ids = [vocab.get(self.sentencepiece.id_to_piece(i)) for i in range(len(self.sentencepiece))]
        else:
            text = build_tokenizer(spm.read_bytes(), spm.name)
            self.piece_ids = list(range(len(self.sentencepiece)))
        (scratch / "tokenizer.json").write_text(text, encoding="utf-8")
        self.marian = MarianTokenizer.from_pretrained(path) if marian else None
        self.library = tokenizers.Tokenizer.from_str(text)
        self.edgekit = Tokenizer.load(scratch / "tokenizer.json", vocab_size(text))
        self._scratch = scratch

    def compare(self, sentences: list[str]) -> dict[str, Any]:
        """Returns how many sentences differ in each respect, and microseconds a sentence."""
        pieces = [self.sentencepiece.encode(sentence) for sentence in sentences]
        unknown = self.edgekit.unk_token_id
        expected = [[self.piece_ids[i] if self.piece_ids[i] is not None else unknown for i in ids] for ids in pieces]
        found = [self.edgekit.encode(sentence) for sentence in sentences]
        marian = [ids[:-1] for ids in self.marian(sentences).input_ids] if self.marian else None
        library = [self.library.encode(sentence).ids for sentence in sentences]
        decoded = [self.sentencepiece.decode(ids) for ids in pieces]
        if self.marian:
            decoded = [text.strip() for text in decoded]  # as MarianTokenizer does
        text = [self.edgekit.decode(ids) for ids in found]
        return {
            "ids": _differing(found, expected),
            "marian_ids": None if marian is None else _differing(found, marian),
            "text": _differing(text, decoded),
            "library_ids": _differing(library, expected),
            "edgekit_us": _microseconds(self._fresh, sentences),
            "sentencepiece_us": _microseconds(lambda: self.sentencepiece.encode, sentences),
            "library_us": _microseconds(lambda: tokenizers.Tokenizer.from_str(self.library.to_str()).encode, sentences),
        }

    def _fresh(self) -> Any:
        return Tokenizer.load(self._scratch / "tokenizer.json", self.edgekit.vocab_size).encode


def _differing(found: list[Any], expected: list[Any]) -> int:
    return sum(a != b for a, b in zip(found, expected, strict=True))


def _microseconds(make: Any, sentences: list[str]) -> float:
    """Returns the best round's CPU time a sentence."""
    rounds = []
    for _ in range(ROUNDS):
        encode = make()
        start = time.process_time()
        for sentence in sentences:
            encode(sentence)
        rounds.append(time.process_time() - start)
    return round(min(rounds) / len(sentences) * 1e6, 1)


def main() -> None:
    """Reads the arguments, compares, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--text", action="append", required=True, metavar="LANGUAGE=NAME:FILE[:COLUMN]")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = defaultdict(list)
    for text in arguments.text:
        language, _, file = text.partition("=")
        files[language].append(file)
    read = {language: read_sentences(names, arguments.sentences) for language, names in files.items()}
    results = []
    for name, _, path in (model.partition("=") for model in arguments.model):
        with tempfile.TemporaryDirectory() as scratch:
            model = Model(Path(path), Path(scratch))
            for language, (sentences, _) in read.items():
                row = {"model": name, "language": language, "sentences": len(sentences)}
                results.append(row | model.compare(sentences))
    environment = {p: version(p) for p in ("sentencepiece", "tokenizers", "transformers")} | {
        "python": platform.python_version()
    }
    texts = {language: taken for language, (_, taken) in read.items()}
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("---" for _ in COLUMNS), "|")
    for row in results:
        print("|", " | ".join("–" if row[column] is None else str(row[column]) for column in COLUMNS), "|")
    if arguments.json:
        document = {"schema_version": 1, "environment": environment, "texts": texts, "results": results}
        arguments.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
