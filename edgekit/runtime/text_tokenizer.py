"""The tokenizer of a translation bundle: SentencePiece's, which edgekit runs itself, or one of the tokenizers library.

In: a file of the bundle and what the manifest says of it. Out: a `TextTokenizer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgekit.bundle.manifest import TokenizerFiles
from edgekit.bundle.single_file import PackedFile
from edgekit.runtime.tokenizer import Tokenizer


class TextTokenizer(Protocol):
    """Text to ids and back; threads may share one."""

    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without those that stand around every text."""

    def split_language_code(self, text: str) -> tuple[list[int], str]:
        """The id of a language code that a text begins with, if it does, and the rest of the text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; control tokens have none."""


def load_text_tokenizer(
    path: Path | PackedFile, files: TokenizerFiles, vocab_size: int, unk_token_id: int | None
) -> TextTokenizer:
    """Loads one of a bundle's tokenizer files.

    Args:
        path: the file.
        files: what the manifest says of it.
        vocab_size: how many ids the model knows on this side.
        unk_token_id: the id of text outside the vocabulary; None for the file's own.

    Raises:
        BundleError: the file is missing or damaged.
    """
    if files.form == "sentencepiece":
        return Tokenizer.load(path, vocab_size, unk_token_id)
    # Here, because most translation models do without the library and start sooner.
    from edgekit.runtime.hub_tokenizer import HubTokenizer

    return HubTokenizer.load(path, vocab_size)
