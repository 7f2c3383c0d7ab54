"""The bytes that each token of a tokenizer.json stands for, so that text can be put together while it is generated.

The ``decoder`` of a tokenizer.json turns a list of tokens into text as a whole. What models use of it comes down to
bytes a token and a rule for the very beginning (huggingface/tokenizers, src/decoders and src/pre_tokenizers):
``ByteLevel`` of GPT-2 and its heirs, ``Metaspace``, and sequences of ``Replace``, ``ByteFallback``, ``Fuse`` and
``Strip`` as converted SentencePiece models have them.

In: the decoder's JSON. Out: bytes of a token. Refused, in one line: decoders that are not made of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgekit.runtime.byte_alphabet import BYTE_OF_CHARACTER

_BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")
_SUPPORTED = "ByteLevel, Metaspace, Replace, ByteFallback, Fuse and Strip"


@dataclass
class Decoder:
    """How a tokenizer's tokens become bytes.

    Attributes:
        byte_level: tokens are spelled in GPT-2's alphabet of 256 characters.
        byte_fallback: ``<0x41>`` is the byte 0x41.
        replacements: characters of a token and what stands for each.
        strip: a character that a text's beginning loses, and how many times at most.
        drops_at_start: a character that a text's first token loses wherever it stands.
    """

    byte_level: bool = False
    byte_fallback: bool = False
    replacements: list[tuple[str, str]] = field(default_factory=list)
    strip: tuple[str, int] | None = None
    drops_at_start: str | None = None

    def to_bytes(self, token: str, is_first: bool = False) -> bytes:
        """The bytes of a token; ``is_first`` for a text's first."""
        if self.byte_level:
            return bytes_of(token)
        if self.byte_fallback and (found := _BYTE_PIECE.fullmatch(token)):
            return bytes([int(found[1], 16)])
        if is_first and self.drops_at_start:
            token = token.replace(self.drops_at_start, "")
        for character, content in self.replacements:
            token = token.replace(character, content)
        return token.encode("utf-8", "replace")


def bytes_of(token: str) -> bytes:
    """The bytes that a token in GPT-2's alphabet spells; one with another character, an added token, is itself."""
    try:
        return bytes([BYTE_OF_CHARACTER[character] for character in token])
    except KeyError:
        return token.encode("utf-8", "replace")


def read_decoder(spec: Any) -> Decoder:
    """Reads the ``decoder`` of a tokenizer.json.

    Raises:
        ValueError: it is none, or not made of the decoders that this module knows.
    """
    steps = spec["decoders"] if isinstance(spec, dict) and spec.get("type") == "Sequence" else [spec]
    if not isinstance(steps, list):
        raise ValueError(f"a decoder that is not a sequence of {_SUPPORTED}")
    decoder, fused = Decoder(), False
    for step in steps:
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "Fuse":
            fused = True
        elif kind == "Strip" and not fused:
            raise ValueError("a decoder that strips each token")
        elif kind not in _READERS:
            raise ValueError(f"a decoder of type {kind!r}, not made of {_SUPPORTED}")
        else:
            _READERS[kind](decoder, step)
    return decoder


def _read_byte_level(decoder: Decoder, step: dict[str, Any]) -> None:
    decoder.byte_level = True


def _read_byte_fallback(decoder: Decoder, step: dict[str, Any]) -> None:
    decoder.byte_fallback = True


def _read_metaspace(decoder: Decoder, step: dict[str, Any]) -> None:
    replacement = step["replacement"]
    if step.get("prepend_scheme", "always") != "never":
        decoder.drops_at_start = replacement
    decoder.replacements.append((replacement, " "))


def _read_replace(decoder: Decoder, step: dict[str, Any]) -> None:
    pattern = step["pattern"].get("String")
    if not isinstance(pattern, str) or len(pattern) != 1:
        raise ValueError("a decoder that replaces more than one character")
    decoder.replacements.append((pattern, step["content"]))


def _read_strip(decoder: Decoder, step: dict[str, Any]) -> None:
    if step["stop"]:
        raise ValueError("a decoder that strips a text's end, which can't be told while it is generated")
    if step["start"]:
        decoder.strip = (step["content"], step["start"])


_READERS: dict[str, Callable[[Decoder, dict[str, Any]], None]] = {
    "ByteLevel": _read_byte_level,
    "ByteFallback": _read_byte_fallback,
    "Metaspace": _read_metaspace,
    "Replace": _read_replace,
    "Strip": _read_strip,
}
