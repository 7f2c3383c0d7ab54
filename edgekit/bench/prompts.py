"""Prompts for decoder-only models: the built-in candidates, a user's own, and what a model reads of one.

In: TOML tables, and the words that stand for placeholders. Out: `Prompt`s, and the text of a completion or the messages
of a chat. Refused, in one line that names the file and the prompt: unknown keys and placeholders, an ``ask`` without
``{input}``, an ``answer`` without ``{output}``, more than `MOST_SHOTS` examples, two prompts of one name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgekit.bench.comparison import Prompt
from edgekit.errors import InputError

__all__ = ["MOST_SHOTS", "Example", "Message", "builtin_prompts", "read_prompts", "read_toml", "render", "show"]

Message = dict[str, str]
Example = tuple[str, str]

MOST_SHOTS = 16
STYLES = ("completion", "chat")
KEYS = ("name", "style", "shots", "begin", "ask", "answer", "stop")
PLACEHOLDERS = ("input", "output", "instruction", "source_language", "target_language")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def builtin_prompts(kind: str) -> tuple[Prompt, ...]:
    """The candidates for ``translation``, or for a ``general`` task."""
    text = resources.files("edgekit.bench").joinpath("prompts.toml").read_text(encoding="utf-8")
    return read_prompts(tomllib.loads(text)[kind], "prompts.toml")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's tables.

    Raises:
        InputError: There is no such file, it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML, found something else: {error}") from None


def read_prompts(tables: Any, where: str) -> tuple[Prompt, ...]:
    """Prompts of TOML tables.

    Args:
        tables: What ``[[prompt]]`` gives.
        where: The file, for messages.

    Raises:
        InputError: There is none, or one of them is not as the module says.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{where}: expected one or more [[prompt]] tables, found none")
    prompts = tuple(_read_prompt(table, f"{where}, prompt {number}") for number, table in enumerate(tables, 1))
    names = [prompt.name for prompt in prompts]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{where}: two prompts are named {repeated[0]!r}; rename one")
    return prompts


def _read_prompt(table: Mapping[str, Any], where: str) -> Prompt:
    if unknown := sorted(set(table) - set(KEYS)):
        raise InputError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(KEYS)}")
    texts = {name: table.get(name, "") for name in ("name", "style", "begin", "ask")}
    texts["answer"] = table.get("answer", "{output}")
    stop, shots = table.get("stop", []), table.get("shots", 0)
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise InputError(f"{where}: expected a text as {wrong[0]}, found {texts[wrong[0]]!r}")
    if not texts["name"]:
        raise InputError(f"{where}: expected a name, found none")
    if texts["style"] not in STYLES:
        raise InputError(f"{where}: expected {' or '.join(STYLES)} as style, found {texts['style']!r}")
    if type(shots) is not int or not 0 <= shots <= MOST_SHOTS:
        raise InputError(f"{where}: expected 0 to {MOST_SHOTS} as shots, found {shots!r}")
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise InputError(f"{where}: expected a list of texts as stop, found {stop!r}")
    _check_placeholders(texts, where)
    return Prompt(**texts, shots=shots, stop=tuple(stop))


def _check_placeholders(texts: Mapping[str, str], where: str) -> None:
    for key, allowed in (("begin", ()), ("ask", ("input",)), ("answer", ("output",))):
        found = _PLACEHOLDER.findall(texts[key])
        if unknown := [name for name in found if name not in PLACEHOLDERS]:
            raise InputError(
                f"{where}: unknown placeholder {{{unknown[0]}}} in {key}; expected "
                f"{', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"
            )
        if missing := [name for name in allowed if name not in found]:
            raise InputError(f"{where}: expected {{{missing[0]}}} in {key}, found none")
        if misplaced := [name for name in found if name in ("input", "output") and name not in allowed]:
            raise InputError(f"{where}: {{{misplaced[0]}}} does not belong in {key}")


def render(prompt: Prompt, text: str, examples: Sequence[Example], words: Mapping[str, str]) -> str | list[Message]:
    """What a model reads for one text: a prompt to go on with, or the messages of a chat.

    Args:
        prompt: Its template.
        text: What to work on.
        examples: Inputs and outputs, at least as many as the prompt has shots; the first ones are used.
        words: What ``instruction``, ``source_language`` and ``target_language`` stand for.
    """

    def fill(template: str, **more: str) -> str:
        # In one pass: a text that holds a placeholder's spelling stays as it is.
        return _PLACEHOLDER.sub(lambda match: {**words, **more}[match[1]], template)

    shown = [
        (fill(prompt.ask, input=given), fill(prompt.answer, output=wanted))
        for given, wanted in examples[: prompt.shots]
    ]
    begin, ask = fill(prompt.begin), fill(prompt.ask, input=text)
    if prompt.style == "completion":
        return "".join([begin, *(part for turn in shown for part in turn), ask])
    messages = [{"role": "system", "content": begin}] if begin else []
    for asked, answered in shown:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return [*messages, {"role": "user", "content": ask}]


def show(rendered: str | list[Message]) -> str:
    """What `render` gives as text for a reader: messages begin with ``<user>`` and so on."""
    if isinstance(rendered, str):
        return rendered
    return "\n".join(f"<{message['role']}> {message['content']}" for message in rendered)
