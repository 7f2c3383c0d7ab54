"""Reads a SentencePiece model (``.spm``, ``.model``) and checks it.

In: the file's bytes, a serialised ModelProto (github.com/google/sentencepiece, src/sentencepiece_model.proto). Out: a
`SentencePieceModel`. Refused, in one line: bytes that are no complete model, and, all of them by name in one message,
settings that edgekit does not implement. The checks are those that SentencePiece makes when it loads a model
(src/model_interface.cc, ModelInterface::InitializePieces); its C++ code never sees the file.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from edgekit.errors import SourceError, UnsupportedError
from edgekit.runtime.charsmap import read_charsmap
from edgekit.runtime.tokenizer_file import MAX_PIECE_CHARACTERS

# Twice the largest published ones, of 256,000 pieces. Each two bytes may be a message that takes protobuf 50.
MAX_FILE_BYTES = 8 * 2**20
MAX_PIECES = 1_000_000
# sentencepiece_model.proto, ModelProto.SentencePiece.Type and TrainerSpec.ModelType.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)
MODEL_TYPES = {UNIGRAM: "unigram", BPE: "bpe", WORD: "word", CHAR: "char"}
_BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_MAX_SCORE = 1e6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary.

    Attributes:
        text: White space is ``▁``.
        score: Its log-probability (unigram), or minus its rank (bpe).
        kind: ``NORMAL``, ``UNKNOWN``, ``CONTROL``, ``USER_DEFINED``, ``UNUSED`` or ``BYTE``.
    """

    text: str
    score: float
    kind: int

    @property
    def is_reachable(self) -> bool:
        """Whether normalised text, which has no space, may become this piece."""
        return self.kind in (NORMAL, USER_DEFINED) and " " not in self.text


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says, as far as it decides ids and text; names are those of the ModelProto."""

    model_type: int
    pieces: tuple[Piece, ...]
    unk_surface: str
    byte_fallback: bool
    treat_whitespace_as_suffix: bool
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    precompiled_charsmap: bytes


def read_sentencepiece(data: bytes, name: str = "SentencePiece model") -> SentencePieceModel:
    """Reads a model file.

    Args:
        data: Its bytes.
        name: What errors call it.

    Raises:
        SourceError: Truncated, corrupted, or no SentencePiece model.
        UnsupportedError: A model type or settings that edgekit does not implement.
    """
    try:
        model = _parse(data)
        pieces = tuple(Piece(piece.piece, piece.score, piece.type) for piece in model.pieces)
        _check_pieces(pieces, model.trainer_spec.byte_fallback)
        read_charsmap(model.normalizer_spec.precompiled_charsmap)
    except DecodeError:
        found = "bytes that are none or end too soon"
    except ValueError as error:
        found = str(error)
    else:
        if unsupported := _find_unsupported(model, pieces):
            raise UnsupportedError(f"{name}: edgekit does not implement {', '.join(unsupported)}")
        return _to_dataclass(model, pieces)
    raise SourceError(f"{name}: expected a SentencePiece model, found {found}; fetch it again")


def _parse(data: bytes) -> Any:
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{len(data)} bytes, more than {MAX_FILE_BYTES}")
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(data)
    if not 0 < len(model.pieces) <= MAX_PIECES:
        raise ValueError(f"{len(model.pieces)} pieces")
    # Both follow the pieces: a file cut between two pieces still parses.
    for part in ("trainer_spec", "normalizer_spec"):
        if not model.HasField(part):
            raise ValueError(f"no {part}")
    if not isinstance(model.trainer_spec.unk_surface, str):
        raise ValueError("an unk_surface that is not UTF-8")
    return model


def _check_pieces(pieces: tuple[Piece, ...], byte_fallback: bool) -> None:
    texts = [piece.text for piece in pieces]
    # protobuf's Python gives bytes where a proto2 string is not UTF-8.
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a piece that is not UTF-8")
    if len(set(texts)) != len(texts):
        raise ValueError(f"a piece twice, {Counter(texts).most_common(1)[0][0][:20]!r}")
    for piece in pieces:
        if not 0 < len(piece.text) <= MAX_PIECE_CHARACTERS or "\0" in piece.text:
            raise ValueError(f"a piece that is empty, holds NUL or is too long, {piece.text[:20]!r}")
        if not math.isfinite(piece.score) or abs(piece.score) >= _MAX_SCORE:
            raise ValueError(f"the score {piece.score} of {piece.text!r}")
    if (unknown := sum(piece.kind == UNKNOWN for piece in pieces)) != 1:
        raise ValueError(f"{unknown} unknown pieces, not 1")
    if not any(piece.kind == NORMAL for piece in pieces):
        raise ValueError("no normal pieces")
    if {piece.text for piece in pieces if piece.kind == BYTE} != (_BYTE_PIECES if byte_fallback else set()):
        raise ValueError("byte pieces that do not agree with byte_fallback")


def _find_unsupported(model: Any, pieces: tuple[Piece, ...]) -> list[str]:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    symbols = [piece for piece in pieces if piece.kind == USER_DEFINED]
    found = {
        f"model_type={MODEL_TYPES[trainer.model_type]}": trainer.model_type not in (UNIGRAM, BPE),
        "escape_whitespaces=false": not normalizer.escape_whitespaces,
        "a precompiled_charsmap that writes two spaces": b"  " in read_charsmap(normalizer.precompiled_charsmap)[1],
        "denormalizer_spec": bool(model.denormalizer_spec.precompiled_charsmap),
        "user_defined_symbols with white space": any(" " in symbol.text for symbol in symbols),
        "unused pieces in a bpe model": trainer.model_type == BPE and any(piece.kind == UNUSED for piece in pieces),
    }
    return [name for name, is_there in found.items() if is_there]


def _to_dataclass(model: Any, pieces: tuple[Piece, ...]) -> SentencePieceModel:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    return SentencePieceModel(
        model_type=trainer.model_type,
        pieces=pieces,
        unk_surface=trainer.unk_surface,
        byte_fallback=trainer.byte_fallback,
        treat_whitespace_as_suffix=trainer.treat_whitespace_as_suffix,
        add_dummy_prefix=normalizer.add_dummy_prefix,
        remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
        precompiled_charsmap=normalizer.precompiled_charsmap,
    )
