"""A GGUF file's vocabulary to the text of a Hugging Face tokenizer.json.

In: the ``tokenizer.ggml.*`` metadata. Out: text for the `tokenizers` library, which gives the ids of the tokenizer that
the model was trained with. Refused: vocabularies that contradict themselves, and by name the kinds that are neither
byte-level BPE (``gpt2``) nor SentencePiece BPE (``llama``), and pre-tokenizers that `gguf_pretokenizers` doesn't know.

No template adds BOS: whether a prompt begins with it is in the bundle's manifest. Token types are llama.cpp's
(include/llama.h, llama_token_type).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from edgekit.errors import EdgekitError, SourceError, UnsupportedError
from edgekit.export.sources.gguf_file import GgufFile
from edgekit.export.tokenizer.gguf_pretokenizers import find_pre_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# Twice the largest published vocabulary, Gemma's, whose pieces have 2 million characters in all, the longest 48.
MAX_TOKENS = 1 << 19
MAX_PIECE_CHARACTERS = 256
MAX_CHARACTERS = 1 << 24
_SPACE = "▁"
_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF file says about text and ids.

    Attributes:
        tokenizer_json: For `tokenizers.Tokenizer.from_str`.
        tokens: The text of each id, as the file has it.
        kinds: The type of each id: ``NORMAL``, ``UNKNOWN``, ``CONTROL``, ``USER_DEFINED``, ``UNUSED`` or ``BYTE``.
        adds_bos: What this kind of vocabulary does where the file has no ``tokenizer.ggml.add_bos_token``.
    """

    tokenizer_json: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    adds_bos: bool


def read_gguf_vocabulary(file: GgufFile, architecture: str) -> GgufVocabulary:
    """Reads a file's vocabulary.

    Args:
        file: The file.
        architecture: ``general.architecture``, which decides where old files have no ``tokenizer.ggml.pre``.

    Raises:
        SourceError: A part is missing, or parts contradict each other.
        UnsupportedError: Another kind of vocabulary, or an unknown pre-tokenizer.
    """
    model = file.metadata.get("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        found = "none" if model is None else repr(model)[:60]
        raise UnsupportedError(f"{file.path}: expected tokenizer.ggml.model to be gpt2 or llama, found {found}")
    tokens = _read_tokens(file)
    kinds = _read_kinds(file, len(tokens))
    if file.metadata.get("tokenizer.ggml.add_eos_token", False):
        raise UnsupportedError(f"{file.path}: tokenizer.ggml.add_eos_token=true would end every prompt")
    build = _byte_level_bpe if model == "gpt2" else _sentencepiece_bpe
    try:
        tokenizer, adds_bos = build(file, tokens, kinds, architecture)
        _add_tokens(tokenizer, tokens, kinds)
        text = tokenizer.to_str()
    except BaseException as error:
        # The library has no narrower exception than Exception, and a panic of pyo3 is a BaseException of no module.
        is_its_own = isinstance(error, Exception) and not isinstance(error, EdgekitError)
        if not is_its_own and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{file.path}: expected a vocabulary that fits its merges, found: {reason}") from None
    return GgufVocabulary(text, tokens, kinds, adds_bos)


def _read_tokens(file: GgufFile) -> list[str]:
    tokens = _texts(file, "tokenizer.ggml.tokens")
    if not 0 < len(tokens) <= MAX_TOKENS:
        raise SourceError(f"{file.path}: expected 1 to {MAX_TOKENS} tokens, found {len(tokens)}; the file is damaged")
    if len(set(tokens)) != len(tokens):
        twice = Counter(tokens).most_common(1)[0][0]
        raise SourceError(f"{file.path}: expected each token once, found {twice[:40]!r} twice; the file is damaged")
    return tokens


def _texts(file: GgufFile, key: str) -> list[str]:
    value = file.metadata.get(key)
    if not isinstance(value, list):
        found = "none" if value is None else "something else"
        raise SourceError(f"{file.path}: expected a list of texts under {key}, found {found}; convert the model again")
    return value


def _read_kinds(file: GgufFile, count: int) -> list[int]:
    kinds = _numbers(file, "tokenizer.ggml.token_type", count)
    return [NORMAL] * count if kinds is None else [int(kind) for kind in kinds]


def _numbers(file: GgufFile, key: str, count: int) -> np.ndarray[Any, Any] | None:
    value = file.metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, np.ndarray) or len(value) != count:
        found = len(value) if isinstance(value, np.ndarray) else "something else"
        raise SourceError(f"{file.path}: expected {count} numbers under {key}, found {found}; the file is damaged")
    return value


def _byte_level_bpe(file: GgufFile, tokens: list[str], kinds: list[int], architecture: str) -> tuple[Tokenizer, bool]:
    pre = file.metadata.get("tokenizer.ggml.pre")
    split = find_pre_tokenizer(pre if pre is None else str(pre), architecture, str(file.path))
    merges = []
    for merge in _texts(file, "tokenizer.ggml.merges"):
        left, space, right = merge.partition(" ")
        if not (left and space and right) or " " in right:
            raise SourceError(f"{file.path}: expected merges of two parts, found {merge[:60]!r}; the file is damaged")
        merges.append((left, right))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # No token for what the vocabulary lacks: SmolLM2's lacks 21 bytes, which its own tokenizer leaves out.
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=split.ignore_merges))
    tokenizer.pre_tokenizer = split.steps()
    if (normalizer := split.normalizer()) is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, split.adds_bos


def _sentencepiece_bpe(
    file: GgufFile, tokens: list[str], kinds: list[int], architecture: str
) -> tuple[Tokenizer, bool]:
    """SentencePiece's BPE: the pair whose piece has the best score merges first."""
    if file.metadata.get("tokenizer.ggml.remove_extra_whitespaces", False):
        raise UnsupportedError(f"{file.path}: tokenizer.ggml.remove_extra_whitespaces=true is not implemented")
    if max(map(len, tokens)) > MAX_PIECE_CHARACTERS or sum(map(len, tokens)) > MAX_CHARACTERS:
        raise SourceError(
            f"{file.path}: expected pieces of at most {MAX_PIECE_CHARACTERS} characters, found one of "
            f"{max(map(len, tokens))}, {sum(map(len, tokens))} in all; the file is damaged"
        )
    scores = _numbers(file, "tokenizer.ggml.scores", len(tokens))
    if scores is None or not np.isfinite(scores.astype(np.float64)).all():
        raise SourceError(f"{file.path}: expected a finite score for each token, found none; convert the model again")
    unknown = [token for token, kind in zip(tokens, kinds, strict=True) if kind == UNKNOWN]
    tokenizer = Tokenizer(
        BPE(
            {token: index for index, token in enumerate(tokens)},
            _merges({t: float(s) for t, s, k in zip(tokens, scores, kinds, strict=True) if k == NORMAL}),
            unk_token=unknown[0] if unknown else None,
            fuse_unk=True,
            byte_fallback=set(tokens) >= _BYTE_TOKENS,
        )
    )
    prefix = bool(file.metadata.get("tokenizer.ggml.add_space_prefix", True))
    replace = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), replace]) if prefix else replace
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    return tokenizer, True


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, best piece first; of one piece's pairs, the better left part first.

    As transformers' SentencePieceExtractor orders them (convert_slow_tokenizer.py), which makes the merges of the
    published tokenizer.json of Llama 2 and Gemma.
    """
    merges = []
    for piece in sorted(scores, key=scores.__getitem__, reverse=True):
        pairs = [(piece[:middle], piece[middle:]) for middle in range(1, len(piece))]
        pairs = [(left, right) for left, right in pairs if left in scores and right in scores]
        merges += sorted(pairs, key=lambda pair: (scores[pair[0]], scores[pair[1]]), reverse=True)
    return merges


def _add_tokens(tokenizer: Tokenizer, tokens: list[str], kinds: list[int]) -> None:
    """Control tokens, never found in a user's text, and user-defined ones, which are."""
    chosen = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if token and kind != NORMAL]
    special = [AddedToken(t, normalized=False, special=True) for t, kind in chosen if kind in (UNKNOWN, CONTROL)]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, kind in chosen if kind == USER_DEFINED])
