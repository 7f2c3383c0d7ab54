"""What the tokenizer files of a Hugging Face checkpoint say: text of tokenizer.json, special tokens, chat template.

In: tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat_template.jinja. Out: `HubTokenizerFiles`.
tokenizer.json goes into the bundle as it is and is loaded here by the library that will run it, so one that is damaged
is refused at export. Also refused: text tokens that the model has no embedding for, and a text that the tokenizer ends
with a token of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.mapped_file import map_file
from edgekit.runtime.tokenizer_file import MAX_FILE_BYTES

__all__ = ["HubTokenizerFiles", "read_hub_tokenizer"]

# Roles of special tokens that a chat template may name (transformers, SpecialTokensMixin).
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# The longest templates, with tools and reasoning, have 20 KB.
MAX_TEMPLATE_BYTES = 1 << 20
# Classes that add BOS as tokenizer_config.json says, whatever tokenizer.json does (tokenization_llama_fast.py of
# transformers 4). Version 5, which alone writes "backend", goes by tokenizer.json and writes no `add_bos_token`.
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")


@dataclass(frozen=True)
class HubTokenizerFiles:
    """A tokenizer in the terms of a bundle.

    Attributes:
        text: tokenizer.json.
        bos_token_id: What a text begins with; None if with its own first token.
        special_tokens: Their texts by role, ``bos_token`` and so on.
        special_ids: Their ids by role, of those that the vocabulary has.
        chat_template: A Jinja2 template; None if there is none.
    """

    text: str = field(repr=False)
    bos_token_id: int | None
    special_tokens: Mapping[str, str]
    special_ids: Mapping[str, int]
    chat_template: str | None


def read_hub_tokenizer(files: Mapping[str, Path], vocab_size: int, *, whole: bool = False) -> HubTokenizerFiles:
    """Reads a checkpoint's tokenizer.

    Args:
        files: Paths by role: ``tokenizer``, and perhaps ``tokenizer_config``, ``special_tokens_map`` and
            ``chat_template``.
        vocab_size: Rows of the model's embedding.
        whole: Whether a text ends with it, as an encoder's does: then the tokenizer may add what it likes, since the
            bundle's manifest says what stands around a text.

    Raises:
        SourceError: A file is damaged, or the tokenizer has tokens that the model lacks.
        UnsupportedError: The tokenizer adds more to a text than BOS.
    """
    path = files["tokenizer"]
    data = _read_bytes(path, "a tokenizer", MAX_FILE_BYTES)
    with _refusing(path):
        text = data.decode("utf-8-sig")
        tokenizer = tokenizers.Tokenizer.from_str(text)
        added = tokenizer.encode("", add_special_tokens=True).ids
    _check_size(path, tokenizer, vocab_size)
    config = _read_optional(files, "tokenizer_config")
    special = _special_tokens(_read_optional(files, "special_tokens_map")) | _special_tokens(config)
    ids = {role: tokenizer.token_to_id(token) for role, token in special.items()}
    special_ids = {role: index for role, index in ids.items() if index is not None and index < vocab_size}
    return HubTokenizerFiles(
        text=text,
        bos_token_id=None if whole else _read_bos(path, config, added, special_ids),
        special_tokens=special,
        special_ids=special_ids,
        chat_template=_read_template(files, config),
    )


def _check_size(path: Path, tokenizer: tokenizers.Tokenizer, vocab_size: int) -> None:
    """Tokens that text can become must be in the embedding; Gemma 3's has none for a control token of images."""
    added = tokenizer.get_added_tokens_decoder()
    reachable = [tokenizer.get_vocab_size(with_added_tokens=False) - 1]
    reachable += [index for index, token in added.items() if not token.special]
    if max(reachable) >= vocab_size:
        raise SourceError(
            f"{path}: expected token ids below {vocab_size}, the rows of the model's embedding, found "
            f"{max(reachable)}; are the files of one model?"
        )


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Texts by role; transformers writes a token as its text or as an object with ``content``."""
    found = {}
    for role in SPECIAL_TOKENS:
        token = config.get(role)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            found[role] = token
    return found


def _read_bos(path: Path, config: Mapping[str, Any], added: list[int], special_ids: Mapping[str, int]) -> int | None:
    """The id of what is put before a text."""
    if config.get("tokenizer_class") in LLAMA_CLASSES and "backend" not in config:
        if config.get("add_eos_token"):
            raise UnsupportedError("tokenizer_config.json: add_eos_token=True (expected False) would end every prompt")
        return special_ids.get("bos_token") if config.get("add_bos_token", True) else None
    if len(added) > 1:
        raise UnsupportedError(
            f"{path}: expected a tokenizer that adds BOS to a text or nothing, found ids {added[:8]}"
        )
    return added[0] if added else None


def _read_template(files: Mapping[str, Path], config: Mapping[str, Any]) -> str | None:
    """The file goes before tokenizer_config.json, where of several ``default`` is meant (as in transformers)."""
    if "chat_template" in files:
        path = files["chat_template"]
        data = _read_bytes(path, "a chat template", MAX_TEMPLATE_BYTES)
        try:
            return data.decode("utf-8-sig") or None
        except UnicodeDecodeError as error:
            raise SourceError(f"{path}: expected a chat template in UTF-8, found {error}; fetch it again") from None
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if template is not None and (not isinstance(template, str) or len(template) > MAX_TEMPLATE_BYTES):
        raise SourceError(
            f"tokenizer_config.json: expected chat_template to be a text of at most {MAX_TEMPLATE_BYTES} characters, "
            f"found {type(template).__name__}"
        )
    return template or None


def _read_optional(files: Mapping[str, Path], role: str) -> dict[str, Any]:
    return read_json(files[role], files[role].name) if role in files else {}


def _read_bytes(path: Path, what: str, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size == 0:
            return b""
    except OSError as error:
        raise SourceError(f"{path}: expected {what}, found: {error.strerror}") from None
    data = map_file(path, what)
    if len(data) > max_bytes:
        raise SourceError(f"{path}: expected {what} of at most {max_bytes} bytes, found {len(data)}")
    return bytes(data)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns what `tokenizers` may raise, a panic too, into one line."""
    try:
        yield
    except BaseException as error:
        # A panic of pyo3 is a BaseException whose class can't be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(
            f"{path}: expected a tokenizer that the tokenizers library loads, found: {reason}; fetch it again"
        ) from None
