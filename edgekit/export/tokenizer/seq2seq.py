"""The tokenizer of a T5, BART, Pegasus, mBART, M2M-100 or NLLB checkpoint, with the ids that its network knows.

In: tokenizer files by role and the tokenizer's configuration. Out: `Seq2SeqTokenizer`. A SentencePiece model goes
before tokenizer.json: edgekit runs it itself, exactly; the library runs tokenizer.json and byte-level BPE. Where pieces
have other ids than in the SentencePiece model, the layout is that of transformers' tokenizers (4.57, tokenization_*.py
of each model). Refused: files that don't fit each other, languages whose tokens are unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from edgekit.bundle.generation import LanguageTokens
from edgekit.errors import SourceError
from edgekit.export.sources.config_file import read_json
from edgekit.export.tokenizer import language_codes
from edgekit.export.tokenizer.build import remapped_pieces
from edgekit.export.tokenizer.hub_tokenizer import read_hub_tokenizer
from edgekit.export.tokenizer.sentencepiece import (
    CONTROL,
    UNKNOWN,
    UNUSED,
    Piece,
    SentencePieceModel,
    read_sentencepiece,
)
from edgekit.export.tokenizer.tokenizer_json import write_tokenizer_json

FAIRSEQ_TOKENS = ("<s>", "<pad>", "</s>")
T5_SENTINELS = 100
PEGASUS_OFFSET = 103
# Tokens that users write on purpose: places to fill in.
_WRITTEN = re.compile(r"<extra_id_\d+>|<mask(_\d+)?>")
_M2M_TOKEN = re.compile(r"__(\w+)__")
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")


@dataclass(frozen=True)
class Seq2SeqTokenizer:
    """A tokenizer in the terms of a bundle.

    Attributes:
        text: tokenizer.json.
        form: As `TokenizerFiles.form`.
        unk_token_id: Id of text outside the vocabulary; None if there is none.
        prefix: Ids before every source.
        languages: Tokens of languages by code, of a model that has many.
    """

    text: str = field(repr=False)
    form: str
    unk_token_id: int | None
    prefix: tuple[int, ...] = ()
    languages: LanguageTokens | None = None


def read_seq2seq_tokenizer(files: Mapping[str, Path], model_type: str, vocab_size: int) -> Seq2SeqTokenizer:
    """Reads a checkpoint's tokenizer.

    Args:
        files: Paths by role: ``spm``, ``tokenizer`` or ``vocab`` and ``merges``, and perhaps ``tokenizer_config``.
        model_type: The checkpoint's.
        vocab_size: Rows of the model's embedding.

    Raises:
        SourceError: A file is damaged, or the files don't fit each other.
        UnsupportedError: A SentencePiece model with settings that edgekit does not implement.
    """
    config = read_json(files["tokenizer_config"], "tokenizer_config.json") if "tokenizer_config" in files else {}
    if "spm" not in files:
        return _read_library_tokenizer(files, config, model_type, vocab_size)
    model = read_sentencepiece(files["spm"].read_bytes(), files["spm"].name)
    codes: tuple[str, ...] = ()
    if model_type in ("t5", "mt5"):
        pieces = _t5_pieces(model, config, model_type)
    elif model_type == "pegasus":
        pieces = _pegasus_pieces(model, config)
    elif "vocab" in files:
        vocab = read_json(files["vocab"], files["vocab"].name)
        codes = language_codes.WMT21 if config.get("language_codes") == "wmt21" else language_codes.M2M100
        tokens = tuple(f"__{code}__" for code in codes)
        return _remapped(model, vocab, files["vocab"].name, dict(zip(codes, tokens, strict=True)), vocab_size)
    else:
        codes = _fairseq_codes(model_type, config)
        pieces = _fairseq_pieces(model, codes, config)
    _check_size(files["spm"], len(pieces), vocab_size)
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    written = {text: index for text, index in ids.items() if _WRITTEN.fullmatch(text) and pieces[index].kind == UNUSED}
    return Seq2SeqTokenizer(
        text=write_tokenizer_json(model, pieces, len(pieces), {}, written),
        form="sentencepiece",
        unk_token_id=next(index for index, piece in enumerate(pieces) if piece.kind == UNKNOWN),
        languages=_language_tokens({code: ids[code] for code in codes}, config),
    )


def _t5_pieces(model: SentencePieceModel, config: Mapping[str, Any], model_type: str) -> list[Piece]:
    """Sentinels follow the pieces, the first of them last (tokenization_t5.py)."""
    count = config.get("extra_ids", T5_SENTINELS if model_type == "t5" else 0)
    if type(count) is not int or not 0 <= count <= 1 << 12:
        raise SourceError(f"tokenizer_config.json: expected 0 to {1 << 12} extra_ids, found {count!r:.60}")
    known = {piece.text for piece in model.pieces}
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(count))]
    return [*model.pieces, *(Piece(text, 0.0, UNUSED) for text in sentinels if text not in known)]


def _pegasus_pieces(model: SentencePieceModel, config: Mapping[str, Any]) -> list[Piece]:
    """Reserved ids first; a piece's id is its index and the offset (tokenization_pegasus.py)."""
    offset = config.get("offset", PEGASUS_OFFSET)
    if type(offset) is not int or not 4 <= offset <= 1 << 12:
        raise SourceError(f"tokenizer_config.json: expected an offset from 4 to {1 << 12}, found {offset!r:.60}")
    reserved = [Piece(text, 0.0, CONTROL) for text in ("<pad>", "</s>")]
    reserved += [Piece(text, 0.0, UNUSED) for text in ("<mask_1>", "<mask_2>")]
    reserved += [Piece(f"<unk_{number}>", 0.0, CONTROL) for number in range(2, offset)]
    return reserved + list(model.pieces[len(reserved) - offset :])


def _fairseq_codes(model_type: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    if model_type == "m2m_100":
        return language_codes.NLLB
    return language_codes.MBART50 if "50" in str(config.get("tokenizer_class", "")) else language_codes.MBART


def _fairseq_pieces(model: SentencePieceModel, codes: tuple[str, ...], config: Mapping[str, Any]) -> list[Piece]:
    """Dictionary of fairseq: its own four first, then the pieces from the fourth on, then languages and mask."""
    pieces = [
        *(Piece(text, 0.0, CONTROL) for text in FAIRSEQ_TOKENS),
        Piece("<unk>", 0.0, UNKNOWN),
        *model.pieces[3:],
    ]
    return pieces + [
        Piece(text, 0.0, UNUSED if text == "<mask>" else CONTROL)
        for text in _added_order((*codes, "<mask>"), len(pieces), config)
    ]


def _added_order(tokens: tuple[str, ...], first: int, config: Mapping[str, Any]) -> list[str]:
    """The tokens in the order of their ids, where tokenizer_config.json states them; else as they are."""
    stated = config.get("added_tokens_decoder")
    entries = stated.items() if isinstance(stated, dict) else ()
    ids = {entry.get("content"): index for index, entry in entries if isinstance(entry, dict)}
    if any(token not in ids for token in tokens):
        return list(tokens)
    ordered = sorted(tokens, key=lambda token: ids[token].zfill(12))
    if [ids[token] for token in ordered] != [str(first + place) for place in range(len(ordered))]:
        raise SourceError(
            f"tokenizer_config.json: expected added_tokens_decoder to have languages and <mask> from {first} on, found "
            f"{ordered[0]} at {ids[ordered[0]]:.20}; are the files of one model?"
        )
    return ordered


def _remapped(
    model: SentencePieceModel, vocab: Mapping[str, int], name: str, tokens: Mapping[str, str], vocab_size: int
) -> Seq2SeqTokenizer:
    """M2M-100: pieces have the ids of vocab.json, and languages follow them (tokenization_m2m_100.py)."""
    pieces = remapped_pieces(model, vocab, name, frozenset(FAIRSEQ_TOKENS))
    lacking = pieces[len(vocab) :]
    pieces = [*pieces[: len(vocab)], *(Piece(token, 0.0, CONTROL) for token in tokens.values())]
    _check_size(Path(name), len(pieces), vocab_size)
    return Seq2SeqTokenizer(
        text=write_tokenizer_json(model, pieces + lacking, len(pieces), {}),
        form="sentencepiece",
        unk_token_id=vocab["<unk>"],
        languages=_language_tokens({code: len(vocab) + index for index, code in enumerate(tokens)}, {}),
    )


def _language_tokens(ids: Mapping[str, int], config: Mapping[str, Any]) -> LanguageTokens | None:
    """Where languages stand: mBART's first release is alone in putting them behind a source and in place of a start."""
    if not ids:
        return None
    is_first = str(config.get("tokenizer_class", "")).startswith("MBartTokenizer")
    is_behind = is_first or config.get("legacy_behaviour") is True
    return LanguageTokens(ids, "suffix" if is_behind else "prefix", "start" if is_first else "first")


def _read_library_tokenizer(
    files: Mapping[str, Path], config: Mapping[str, Any], model_type: str, vocab_size: int
) -> Seq2SeqTokenizer:
    """tokenizer.json, or GPT-2's two files that BART's older repositories have in its place."""
    if "tokenizer" in files:
        document = json.loads(read_hub_tokenizer(files, vocab_size, whole=True).text)
    else:
        document = json.loads(_byte_level_bpe(files).to_str())
    for token in document["added_tokens"]:
        if _WRITTEN.fullmatch(token["content"]):
            token["special"] = False  # counts in a user's text
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
    tokenizer = tokenizers.Tokenizer.from_str(text)
    added = {token.content: index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    languages = {}
    if model_type in ("mbart", "m2m_100"):
        for content, index in sorted(added.items(), key=lambda item: item[1]):
            if found := _M2M_TOKEN.fullmatch(content) or (_LANGUAGE.fullmatch(content)):
                languages[found[found.re.groups]] = index
    if model_type in ("mbart", "m2m_100") and not languages:
        raise SourceError(f"{files['tokenizer']}: expected a token for each language, found none; fetch it again")
    begin = tokenizer.token_to_id("<s>") if model_type == "bart" else None
    return Seq2SeqTokenizer(
        text=text,
        form="tokenizers",
        unk_token_id=tokenizer.token_to_id("<unk>"),
        prefix=() if begin is None else (begin,),
        languages=_language_tokens(languages, config),
    )


def _byte_level_bpe(files: Mapping[str, Path]) -> tokenizers.Tokenizer:
    """vocab.json and merges.txt of a BART checkpoint as the library runs them (transformers, RobertaConverter)."""
    vocab = read_json(files["vocab"], files["vocab"].name)
    lines = files["merges"].read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    try:
        tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    except Exception as error:  # the library raises nothing more specific
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{files['merges']}: expected merges of {files['vocab'].name}, found: {reason}") from None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = [AddedToken(text, special=True, normalized=False) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.add_special_tokens([*control, AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    return tokenizer


def _check_size(path: Path, found: int, vocab_size: int) -> None:
    if found > vocab_size:
        raise SourceError(
            f"{path}: expected token ids below {vocab_size}, the rows of the model's embedding, found {found - 1}; "
            "are the files of one model?"
        )
