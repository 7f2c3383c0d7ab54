"""Writes tokenizer.json, the form of the `tokenizers` library (github.com/huggingface/tokenizers).

In: a SentencePiece model and its pieces in the order of their ids. Out: text, the same for the same input. The library
itself reads the file and segments nearly as SentencePiece does; edgekit's runtime (`edgekit.runtime.tokenizer`) takes
from it what it needs to be exact, some of it from ``model.sentencepiece``, which the library ignores.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.export.tokenizer.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    SentencePieceModel,
)
from edgekit.runtime.tokenizer_file import HIDDEN

_SPACE = "▁"


def write_tokenizer_json(
    model: SentencePieceModel,
    pieces: Sequence[Piece],
    size: int,
    language_codes: Mapping[str, int] | None,
    added: Mapping[str, int] | None = None,
) -> str:
    """Returns the text of a tokenizer.json.

    Args:
        model: The settings.
        pieces: What has the ids 0, 1, 2 and so on; exactly one is unknown.
        size: Pieces from here on take part in segmentation, but the model does not know their ids.
        language_codes: Ids of ``>>de<<`` and the like if the tokenizer looks pieces up as transformers does, else None.
        added: Ids of tokens that count wherever a text spells them.
    """
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        # None: an added token would be found in a user's text.
        "added_tokens": [],
        "normalizer": _normalizer(model),
        "pre_tokenizer": _pre_tokenizer(model),
        "post_processor": None,
        "decoder": _decoder(model),
        "model": _unigram(model, pieces) if model.model_type == UNIGRAM else _bpe(model, pieces),
    }
    document["model"]["sentencepiece"] = {
        "size": size,
        "add_dummy_prefix": model.add_dummy_prefix,
        "remove_extra_whitespaces": model.remove_extra_whitespaces,
        "treat_whitespace_as_suffix": model.treat_whitespace_as_suffix,
        "user_defined": [piece.text for piece in pieces if piece.kind == USER_DEFINED],
        "control": [index for index, piece in enumerate(pieces) if piece.kind == CONTROL],
        "unk_surface": model.unk_surface,
        "language_codes": language_codes,
        **({"added": dict(added)} if added else {}),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _name(piece: Piece) -> str:
    return piece.text if piece.is_reachable or piece.kind == BYTE else HIDDEN + piece.text


def _unknown_id(pieces: Sequence[Piece]) -> int:
    return next(index for index, piece in enumerate(pieces) if piece.kind == UNKNOWN)


def _unigram(model: SentencePieceModel, pieces: Sequence[Piece]) -> dict[str, Any]:
    lowest = min(piece.score for piece in pieces if piece.kind == NORMAL)

    def score(piece: Piece) -> float:
        if piece.kind == USER_DEFINED:
            return _user_defined_score(piece.text)
        # The lowest score decides the unknown's, so a piece that cannot be reached must not be below.
        return piece.score if piece.kind == NORMAL else lowest

    return {
        "type": "Unigram",
        "unk_id": _unknown_id(pieces),
        "vocab": [[_name(piece), score(piece)] for piece in pieces],
        "byte_fallback": model.byte_fallback,
    }


def _user_defined_score(text: str) -> float:
    """Returns the float32 that SentencePiece gives a user-defined symbol instead of the score in its file.

    Measured with 0.2.3, by the score at which another segmentation wins: 0.1 for each byte after the first. Releases
    before gave -0.1 (src/unigram_model.cc, Model::EncodeOptimized), so symbols inside longer pieces were not found.
    """
    score: float = struct.unpack("<f", struct.pack("<f", 0.1 * (len(text.encode()) - 1)))[0]
    return score


def _bpe(model: SentencePieceModel, pieces: Sequence[Piece]) -> dict[str, Any]:
    mergeable = {piece.text: piece.score for piece in pieces if piece.kind == NORMAL and piece.is_reachable}
    merges = [
        [text[:middle], text[middle:]]
        for text in sorted(mergeable, key=lambda text: -mergeable[text])
        for middle in range(1, len(text))
        if text[:middle] in mergeable and text[middle:] in mergeable
    ]
    return {
        "type": "BPE",
        "unk_token": _name(pieces[_unknown_id(pieces)]),
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        # Only a user-defined symbol, which the pre-tokenizer cuts out, is a whole word that no merge leads to.
        "ignore_merges": any(piece.kind == USER_DEFINED for piece in pieces),
        "vocab": {_name(piece): index for index, piece in enumerate(pieces)},
        "merges": merges,
    }


def _normalizer(model: SentencePieceModel) -> dict[str, Any]:
    """src/normalizer.cc, Normalizer::Normalize; the library's Precompiled is where it differs."""
    steps: list[dict[str, Any]] = []
    if model.precompiled_charsmap:
        charsmap = base64.b64encode(model.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if model.remove_extra_whitespaces:
        steps += [_replace(r"\A +|[ ▁]+\z", ""), _replace(" {2,}", " ")]
    if model.add_dummy_prefix:
        suffix = model.treat_whitespace_as_suffix
        steps.append(_replace(r"(?<=[\s\S])\z", _SPACE) if suffix else {"type": "Prepend", "prepend": _SPACE})
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _replace(regex: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def _pre_tokenizer(model: SentencePieceModel) -> dict[str, Any] | None:
    symbols = sorted((piece.text for piece in model.pieces if piece.kind == USER_DEFINED), key=len, reverse=True)
    if model.model_type == UNIGRAM or not symbols:
        return None
    pattern = {"Regex": "|".join(map(re.escape, symbols))}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def _decoder(model: SentencePieceModel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}]
    if model.byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
