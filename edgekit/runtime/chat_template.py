"""A conversation as the prompt that a model was trained on, by the model's own template.

The template is a Jinja2 file, rendered as transformers renders it but in a sandbox with limits
(`edgekit.runtime.template_sandbox`). A message that spells a control token keeps it as text: the spelling is
interrupted by a mark before rendering, so that in the result only the template's own control tokens are whole.

In: messages. Out: ids. jinja2 is imported when the first conversation is rendered; without it one line says how to get
it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.single_file import PackedFile
from edgekit.errors import BundleError, InputError, MissingExtraError
from edgekit.runtime.hub_tokenizer import HubTokenizer

if TYPE_CHECKING:
    import jinja2

# A template of this many bytes is refused in any case.
MAX_FILE_BYTES = 2**20
# Characters that nobody writes: from the first of Unicode's noncharacters on.
FIRST_MARK = 0xFDD0


class ChatTemplate:
    """One model's template; threads may share it."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], tokenizer: HubTokenizer, where: str) -> None:
        """Takes the template's source; ``special_tokens`` are variables it may name, ``where`` is for messages."""
        self._source, self._special_tokens = source, dict(special_tokens)
        self._tokenizer, self._where = tokenizer, where

    @classmethod
    def load(cls, path: Path | PackedFile, special_tokens: Mapping[str, str], tokenizer: HubTokenizer) -> ChatTemplate:
        """Reads a bundle's template, which is compiled when it is first used.

        Raises:
            BundleError: the file can't be read, or is no UTF-8.
        """
        try:
            with path.open("rb") as file:
                source = file.read(MAX_FILE_BYTES).decode("utf-8")
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); export the model again") from None
        except UnicodeDecodeError:
            raise BundleError(f"{path}: expected UTF-8, found other bytes; export the model again") from None
        return cls(source, special_tokens, tokenizer, str(path))

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids of a conversation, and of the beginning of the assistant's answer.

        Args:
            messages: from `edgekit.runtime.generation_arguments.messages`.

        Raises:
            MissingExtraError: jinja2 is not installed.
            InputError: the template refuses these messages.
            BundleError: the template is damaged, or reaches for what it may not have.
        """
        mark = unused_character([self._source, *(message["content"] for message in messages)])
        marked = [
            {**message, "content": self._tokenizer.interrupt_control(message["content"], mark)} for message in messages
        ]
        return self._tokenizer.encode_rendered(self._render(marked), mark)

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        try:
            from edgekit.runtime import template_sandbox
        except ImportError:
            raise MissingExtraError(
                "a chat needs jinja2, which is not installed; install it with pip install 'edgekit[chat]'"
            ) from None
        variables = self._special_tokens | {
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        }
        given = sum(len(message["content"]) for message in messages)
        try:
            return template_sandbox.render(self._template, variables, given)
        except template_sandbox.RefusedMessagesError as error:
            raise InputError(f"the model's chat template refuses these messages: {_one_line(error)}") from None
        except Exception as error:  # whatever Python can raise, a stranger's template can
            raise BundleError(
                f"{self._where}: expected a chat template that can be rendered, found that it {_fault(error)}; "
                "use generate with a prompt of your own"
            ) from None

    @functools.cached_property
    def _template(self) -> jinja2.Template:
        from edgekit.runtime.template_sandbox import compile_template

        return compile_template(self._source)


def unused_character(texts: Iterable[str]) -> str:
    """The first character from `FIRST_MARK` that stands in none of the texts."""
    used = set().union(*texts)
    return next(character for character in map(chr, range(FIRST_MARK, 0x110000)) if character not in used)


def _fault(error: Exception) -> str:
    from edgekit.runtime.template_limits import LimitError

    return _one_line(error) if isinstance(error, LimitError) else f"fails ({_one_line(error)})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
