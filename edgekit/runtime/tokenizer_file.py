"""Reads a bundle's tokenizer.json into a `TokenizerFile`.

The file has the form of the `tokenizers` library, with one more object in ``model``, ``sentencepiece``, that holds what
that form has no place for (`edgekit.export.tokenizer.tokenizer_json` writes both). Pieces that no text may become
(control pieces, unused ones, vocabulary entries that the SentencePiece model has not) begin with a space there:
normalised text has none.

In: a path. Out: checked values. Refused, in one line: a file that is not such a tokenizer.json.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgekit.bundle.single_file import PackedFile, read_bytes
from edgekit.errors import BundleError

HIDDEN = " "
MAX_FILE_BYTES = 128 * 2**20
# SentencePiece's own trainer stops at 16 characters; user-defined symbols may be longer.
MAX_PIECE_CHARACTERS = 256
_MAX_SCORE = 1e6
_T = TypeVar("_T")


@dataclass(frozen=True)
class TokenizerFile:
    """What a tokenizer.json says.

    Attributes:
        pieces: Every piece by id, its mark of a hidden piece included.
        scores: Their scores if the model is Unigram, else None.
        merges: Pairs of pieces to merge, best first, if the model is BPE, else None.
        unk_id: Id of the unknown piece.
        size: Ids from here on are pieces that vocab.json lacks; they take part in segmentation and become unknown.
        charsmap: SentencePiece's precompiled charsmap, empty for none.
        byte_fallback: Whether unknown characters become bytes.
        add_dummy_prefix: As in SentencePiece's normalizer_spec.
        remove_extra_whitespaces: As in SentencePiece's normalizer_spec.
        treat_whitespace_as_suffix: As in SentencePiece's trainer_spec.
        user_defined: User-defined symbols.
        control: Ids that have no text.
        unk_surface: Text of the unknown piece.
        added: Tokens that count wherever their spelling stands in a text, by id (T5's ``<extra_id_0>``, ``<mask>``).
        language_codes: Tokens as ``>>de<<`` that may begin a text, if a MarianTokenizer is to be equalled, else None.
    """

    pieces: list[str]
    scores: list[float] | None
    merges: list[tuple[str, str]] | None
    unk_id: int
    size: int
    charsmap: bytes
    byte_fallback: bool
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    treat_whitespace_as_suffix: bool
    user_defined: tuple[str, ...]
    control: frozenset[int]
    unk_surface: str
    language_codes: Mapping[str, int] | None
    added: Mapping[str, int] = field(default_factory=dict)


def read_tokenizer_file(path: Path | PackedFile) -> TokenizerFile:
    """Reads and checks a tokenizer.json.

    Raises:
        BundleError: The file cannot be read, or is not what edgekit's exporter writes.
    """
    try:
        return _from_json(json.loads(read_bytes(path, MAX_FILE_BYTES)))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); export the model again") from None
    except KeyError as error:
        found = f"no {error.args[0]!r}"
    except (ValueError, RecursionError) as error:
        found = " ".join(str(error).split())
    raise BundleError(f"{path}: expected a tokenizer.json from edgekit, found {found}; export the model again")


def _from_json(data: Any) -> TokenizerFile:
    model = _typed("the file", data, dict)["model"]
    kind = _typed("model", model, dict)["type"]
    if kind == "Unigram":
        pieces, scores = _read_unigram(_typed("vocab", model["vocab"], list))
        unk_id, merges = _typed("unk_id", model["unk_id"], int), None
    elif kind == "BPE":
        pieces, scores = _read_vocab(_typed("vocab", model["vocab"], dict)), None
        unk_id, merges = _find(pieces, model["unk_token"]), _read_merges(_typed("merges", model["merges"], list))
    else:
        raise ValueError(f"a model of type {kind!r}, not Unigram or BPE")
    settings = _typed("sentencepiece", model["sentencepiece"], dict)
    codes = settings["language_codes"]
    flags = ("add_dummy_prefix", "remove_extra_whitespaces", "treat_whitespace_as_suffix")
    file = TokenizerFile(
        pieces=pieces,
        scores=scores,
        merges=merges,
        unk_id=unk_id,
        size=_typed("size", settings["size"], int),
        charsmap=_read_charsmap(data["normalizer"]),
        byte_fallback=_typed("byte_fallback", model["byte_fallback"], bool),
        user_defined=tuple(_texts("user_defined", settings["user_defined"])),
        control=frozenset(_ids("control", settings["control"], len(pieces))),
        unk_surface=_typed("unk_surface", settings["unk_surface"], str),
        language_codes=None if codes is None else _read_codes(codes, len(pieces)),
        added=_read_codes(settings.get("added", {}), len(pieces)),
        **{flag: _typed(flag, settings[flag], bool) for flag in flags},
    )
    _ids("unk_id and size", [unk_id, file.size - 1], len(pieces))
    return file


def _read_unigram(vocab: list[Any]) -> tuple[list[str], list[float]]:
    if not all(isinstance(entry, list) and len(entry) == 2 for entry in vocab):
        raise ValueError("a vocab whose entries are not pairs of a piece and a score")
    scores = [score for _, score in vocab]
    if not all(type(score) in (float, int) and math.isfinite(score) and abs(score) < _MAX_SCORE for score in scores):
        raise ValueError("a score that is not a number of reasonable size")
    return _distinct([piece for piece, _ in vocab]), scores


def _read_vocab(vocab: dict[str, Any]) -> list[str]:
    if sorted(_ids("vocab", list(vocab.values()), len(vocab))) != list(range(len(vocab))):
        raise ValueError("a vocab whose ids are not 0, 1, 2 and so on")
    return _distinct(sorted(vocab, key=vocab.__getitem__))


def _distinct(pieces: list[Any]) -> list[str]:
    if not pieces or len(set(_texts("vocab", pieces))) != len(pieces) or not all(pieces):
        raise ValueError("an empty vocab, or one with an empty piece or one piece twice")
    if max(map(len, pieces)) > MAX_PIECE_CHARACTERS:
        raise ValueError(f"a piece of more than {MAX_PIECE_CHARACTERS} characters")
    return pieces


def _read_merges(merges: list[Any]) -> list[tuple[str, str]]:
    if not all(isinstance(merge, list) and len(_texts("merges", merge)) == 2 for merge in merges):
        raise ValueError("a merge that is not a pair of pieces")
    return [(left, right) for left, right in merges]


def _read_charsmap(normalizer: Any) -> bytes:
    for step in _typed("normalizers", _typed("normalizer", normalizer, dict)["normalizers"], list):
        if _typed("normalizers", step, dict)["type"] == "Precompiled":
            return base64.b64decode(_typed("charsmap", step["precompiled_charsmap"], str), validate=True)
    return b""


def _read_codes(codes: Any, size: int) -> dict[str, int]:
    _ids("language_codes", list(_typed("language_codes", codes, dict).values()), size)
    return dict(codes)


def _find(pieces: list[str], piece: Any) -> int:
    if piece not in pieces:
        raise ValueError(f"an unk_token that is not in the vocab, {piece!r}")
    return pieces.index(piece)


def _texts(name: str, values: Any) -> list[str]:
    if not all(isinstance(value, str) for value in _typed(name, values, list)):
        raise ValueError(f"{name} that are not all texts")
    return list(values)


def _ids(name: str, values: Any, size: int) -> list[int]:
    if not all(type(value) is int and 0 <= value < size for value in _typed(name, values, list)):
        raise ValueError(f"{name} that are not ids from 0 to {size - 1}")
    return list(values)


def _typed(name: str, value: Any, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise ValueError(f"{name} of type {type(value).__name__}, not {kind.__name__}")
    return value
