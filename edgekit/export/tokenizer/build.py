"""SentencePiece models to tokenizer.json, with the ids that a network was trained with.

In: the bytes of the ``.spm`` files and, for Marian checkpoints, vocab.json as a dict. Out: texts of tokenizer.json.
Refused: damaged models and vocabularies, settings that are not implemented (`sentencepiece`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from edgekit.errors import SourceError
from edgekit.export.tokenizer.sentencepiece import (
    BYTE,
    CONTROL,
    MAX_PIECES,
    UNKNOWN,
    UNUSED,
    Piece,
    SentencePieceModel,
    read_sentencepiece,
)
from edgekit.export.tokenizer.tokenizer_json import write_tokenizer_json

UNKNOWN_PIECE = "<unk>"
# MarianTokenizer's special tokens (transformers, models/marian/tokenization_marian.py), never reached from text.
MARIAN_CONTROL = frozenset({"</s>", "<pad>"})
_LANGUAGE_CODE = re.compile(r">>.+<<", re.DOTALL)


def build_tokenizer(spm: bytes, name: str = "vocab.spm") -> str:
    """Returns the tokenizer.json of a model whose piece index is the network's id, as Bergamot's.

    Args:
        spm: A SentencePiece model.
        name: What errors call it.

    Raises:
        SourceError: Truncated, corrupted, or no SentencePiece model.
        UnsupportedError: A model type or settings that edgekit does not implement.
    """
    model = read_sentencepiece(spm, name)
    return write_tokenizer_json(model, model.pieces, len(model.pieces), None)


def build_marian_tokenizers(
    source_spm: bytes,
    target_spm: bytes,
    vocab: Mapping[str, int],
    target_vocab: Mapping[str, int] | None = None,
) -> tuple[str, str]:
    """Returns the tokenizer.json of each side of a Hugging Face Marian checkpoint.

    Args:
        source_spm: source.spm.
        target_spm: target.spm.
        vocab: vocab.json, piece to id.
        target_vocab: target_vocab.json if the vocabularies are separate.

    Raises:
        SourceError: A damaged model, or a vocabulary that is none.
        UnsupportedError: A model type or settings that edgekit does not implement.
    """
    source = _remap(read_sentencepiece(source_spm, "source.spm"), vocab, "vocab.json")
    if target_vocab is None:
        return source, _remap(read_sentencepiece(target_spm, "target.spm"), vocab, "vocab.json")
    return source, _remap(read_sentencepiece(target_spm, "target.spm"), target_vocab, "target_vocab.json")


def vocab_size(tokenizer_json: str) -> int:
    """Returns how many ids a tokenizer.json of `build_tokenizer` or `build_marian_tokenizers` gives to text."""
    size: int = json.loads(tokenizer_json)["model"]["sentencepiece"]["size"]
    return size


def _remap(model: SentencePieceModel, vocab: Mapping[str, int], name: str) -> str:
    """Gives the pieces of a model the ids of a vocab.json.

    MarianTokenizer segments with the SentencePiece model and looks the pieces up. So those that vocab.json lacks still
    take part in segmentation; and what only vocab.json has is never a piece, but decodes.
    """
    pieces = remapped_pieces(model, vocab, name, MARIAN_CONTROL)
    codes = {text: index for text, index in vocab.items() if _LANGUAGE_CODE.fullmatch(text)}
    return write_tokenizer_json(model, pieces, len(vocab), codes)


def remapped_pieces(
    model: SentencePieceModel, vocab: Mapping[str, int], name: str, control: Collection[str]
) -> list[Piece]:
    """The entries of a vocab.json in the order of their ids, then pieces of the model that it lacks.

    Args:
        model: Segments text.
        vocab: Piece to id.
        name: What errors call the vocabulary.
        control: Entries that no text becomes.

    Raises:
        SourceError: The vocabulary is none.
    """
    _check_vocab(vocab, name)
    by_text = {piece.text: piece for piece in model.pieces}
    pieces = [_as_entry(text, by_text.get(text), control) for text in sorted(vocab, key=vocab.__getitem__)]
    lacking = [piece for piece in model.pieces if piece.text not in vocab]
    return pieces + [piece for piece in lacking if piece.is_reachable or piece.kind == BYTE]


def _as_entry(text: str, piece: Piece | None, control: Collection[str]) -> Piece:
    if text == UNKNOWN_PIECE:
        return Piece(text, 0.0, UNKNOWN)
    if text in control or (piece is None and _LANGUAGE_CODE.fullmatch(text)):
        return Piece(text, 0.0, CONTROL)
    if piece is None:
        return Piece(text, 0.0, UNUSED)
    return replace(piece, kind=UNUSED) if piece.kind == UNKNOWN else piece


def _check_vocab(vocab: Mapping[str, int], name: str) -> None:
    found = None
    if not 0 < len(vocab) <= MAX_PIECES:
        found = f"{len(vocab)} entries"
    elif not all(type(index) is int for index in vocab.values()) or sorted(vocab.values()) != list(range(len(vocab))):
        found = "other ids"
    elif UNKNOWN_PIECE not in vocab or not all(vocab):
        found = f"no {UNKNOWN_PIECE}, or an empty piece"
    if found:
        wanted = f"pieces with the ids 0, 1, 2 and so on, {UNKNOWN_PIECE} among them"
        raise SourceError(f"{name}: expected {wanted}, found {found}; fetch it again")
