"""Reads the items of a task that is not translation: inputs, and for each one or more texts that would be right.

In: a table that names files, and the directory that these are relative to::

    input = "test.src"                       # two or more files, aligned line by line
    reference = ["test.ref0", "test.ref1"]

    file = "test.jsonl.gz"                   # or an object a line
    input = "dialogue"                       # its key for the input
    reference = "summary"                    # and for one reference, or a list of them

    file = "test.tsv"                        # or input<TAB>reference

Files are UTF-8, plain or ``.gz``. Out: a `TaskItems`. Refused, in one line that names the file: files of different
lengths, empty inputs or references, lines without the key, unknown keys, nothing at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.errors import InputError
from edgekit.quality.parallel_text import USER_LICENSE, TestSet, load_testset
from edgekit.quality.text_file import read_text

__all__ = ["TaskItems", "load_items"]

KEYS = ("file", "input", "reference")


@dataclass(frozen=True)
class TaskItems:
    """Inputs and references, aligned.

    Attributes:
        name: A packaged set's name, or a file's without its endings.
        inputs: Texts to work on, none empty.
        references: For each, one or more texts that would be right.
        sha256: Hex digest of the file, or of several files' digests.
        license: Licence of the text.
    """

    name: str
    inputs: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    sha256: str
    license: str

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, count: int | None) -> TaskItems:
        """The first ``count`` items; all of them where ``count`` is None or exceeds their number."""
        return replace(self, inputs=self.inputs[:count], references=self.references[:count])

    def pick(self, indices: Sequence[int]) -> TaskItems:
        """The items of these indices, in that order."""
        inputs = tuple(self.inputs[index] for index in indices)
        return replace(self, inputs=inputs, references=tuple(self.references[index] for index in indices))

    @classmethod
    def of_pairs(cls, pairs: TestSet) -> TaskItems:
        """Parallel text as items with one reference each."""
        references = tuple((reference,) for reference in pairs.references)
        return cls(pairs.name, pairs.sources, references, pairs.sha256, pairs.license)


def load_items(table: Any, directory: Path, where: str) -> TaskItems:
    """The items that a table of a task's file names.

    Args:
        table: See the module.
        directory: What its paths are relative to.
        where: The file and table, for messages.

    Raises:
        InputError: The table or a file is not as the module says.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: expected a table with input and reference, found {table!r}")
    if unknown := sorted(set(table) - set(KEYS)):
        raise InputError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(KEYS)}")
    if "file" not in table:
        return _read_lines(table, directory, where)
    path = directory / _text(table, "file", where)
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return _read_objects(path, _text(table, "input", where), _text(table, "reference", where))
    if "input" in table or "reference" in table:
        raise InputError(f"{where}: input and reference name keys of a .jsonl file; {path.name} has two columns")
    return TaskItems.of_pairs(load_testset(str(path), None, None))


def _read_lines(table: Mapping[str, Any], directory: Path, where: str) -> TaskItems:
    source = directory / _text(table, "input", where)
    given = table.get("reference")
    names = [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
    if not names or (isinstance(given, list) and len(names) < len(given)):
        raise InputError(f"{where}: expected a file or a list of files as reference, found {given!r}")
    inputs, digest = _lines(source)
    columns, digests = [], [digest]
    for path in (directory / name for name in names):
        lines, digest = _lines(path)
        if len(lines) != len(inputs):
            raise InputError(
                f"{path}: expected as many lines as {source.name}, {len(inputs)}, found {len(lines)}; align the files"
            )
        columns.append(lines)
        digests.append(digest)
    references = tuple(zip(*columns, strict=True))
    return _checked(source, inputs, references, hashlib.sha256("".join(digests).encode()).hexdigest())


def _read_objects(path: Path, input_key: str, reference_key: str) -> TaskItems:
    lines, digest = _lines(path)
    inputs: list[str] = []
    references: list[tuple[str, ...]] = []
    for number, line in enumerate(lines, 1):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict):
            raise InputError(f"{path}: expected a JSON object in line {number}, found something else")
        given, right = item.get(input_key), item.get(reference_key)
        right = right if isinstance(right, list) else [right]
        if not isinstance(given, str) or not right or not all(isinstance(text, str) for text in right):
            raise InputError(
                f"{path}: expected texts under {input_key!r} and {reference_key!r} in line {number}; found the keys "
                f"{', '.join(map(repr, sorted(item)))}"
            )
        inputs.append(given)
        references.append(tuple(right))
    return _checked(path, inputs, tuple(references), digest)


def _checked(path: Path, inputs: Sequence[str], references: tuple[tuple[str, ...], ...], digest: str) -> TaskItems:
    for number, (given, right) in enumerate(zip(inputs, references, strict=True), 1):
        if not given.strip() or not all(text.strip() for text in right):
            raise InputError(f"{path}: expected an input and a reference, found an empty one in line {number}")
    name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    return TaskItems(name, tuple(inputs), references, digest, USER_LICENSE)


def _lines(path: Path) -> tuple[list[str], str]:
    if not path.is_file():
        raise InputError(
            f"{path}: expected a file with a text a line, found none; paths are relative to the task's file"
        )
    text, digest = read_text(path, str(path), "a task's text")
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and form feeds inside a sentence.
    lines = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text.strip() else []
    if not lines:
        raise InputError(f"{path}: expected a text a line, found an empty file; give at least one item")
    return lines, digest


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: expected a text as {key}, found {value!r}")
    return value
