"""Configurations from strangers: JSON files and YAML text of bounded size and depth, as plain data.

In: ``config.json``, ``tokenizer_config.json``, ``vocab.json`` and the like, or the YAML inside a Marian model. Out: a
dict. Nothing is executed or constructed beyond strings, numbers, booleans, null, lists and dicts; YAML's tags, anchors
and aliases are refused, since with them a kilobyte can describe a gigabyte.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from edgekit.errors import SourceError
from edgekit.export.sources.mapped_file import map_file

# The largest vocab.json of a MarianMT checkpoint has 3 MB; a parsed file takes up to 25 times its size in memory.
MAX_JSON_BYTES = 16 << 20
# Marian's configurations have 2 to 5 KB.
MAX_YAML_BYTES = 64 << 10
MAX_DEPTH = 32

_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Reads a JSON file that holds one object; of a repeated key the last value counts, as in Python's json.

    Args:
        path: A file of at most 16 MiB, UTF-8, at most 32 levels deep.
        what: What the file should be, for messages: "the model's configuration".

    Raises:
        SourceError: The file is missing, too large, too deep, not JSON, or not an object.
    """
    data = map_file(path, what)
    if len(data) > MAX_JSON_BYTES:
        raise SourceError(f"{path}: expected {what} of at most {MAX_JSON_BYTES} bytes, found {len(data)}")
    try:
        text = str(data, "utf-8-sig")
        value = json.loads(text)
        if _SURROGATE_ESCAPE.search(text):
            # Half of a surrogate pair can be escaped in JSON, but neither printed nor written again.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise SourceError(f"{path}: expected {what} of at most {MAX_DEPTH} levels, found more") from None
    except ValueError as error:  # JSONDecodeError, Unicode errors, integers of more than 4300 digits
        raise SourceError(f"{path}: expected {what} as JSON, found: {error}; fetch it again") from None
    return _checked(value, str(path), what)


def parse_yaml(text: bytes, what: str) -> dict[str, Any]:
    """Parses YAML text that holds one mapping with text keys.

    Args:
        text: At most 64 KiB, UTF-8, at most 32 levels deep, without tags, anchors and aliases.
        what: Where the text is from, for messages: "model.bin: special:model.yml".

    Raises:
        SourceError: Any of this does not hold.
    """
    if len(text) > MAX_YAML_BYTES:
        raise SourceError(f"{what}: expected YAML of at most {MAX_YAML_BYTES} bytes, found {len(text)}")
    try:
        value = yaml.load(text.decode(), Loader=_PlainLoader)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise SourceError(f"{what}: expected plain YAML, found: {reason}{place}; the file is damaged") from None
    except ValueError as error:  # text that isn't UTF-8, integers that don't exist
        raise SourceError(f"{what}: expected plain YAML, found: {error}; the file is damaged") from None
    return _checked(value, what, "a mapping")


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without tags, anchors, aliases and depth; dates and ``<<`` are text."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(problem="an anchor or alias", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(problem="a tag", problem_mark=event.start_mark)
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(problem="too many levels", problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _checked(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SourceError(f"{where}: expected {what} as an object of named values, found {type(value).__name__}")
    if not all(isinstance(key, str) for key in value):
        raise SourceError(f"{where}: expected names that are text, found others")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return value
    raise SourceError(f"{where}: expected {what} of at most {MAX_DEPTH} levels, found more")


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
