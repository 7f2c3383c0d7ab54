"""Text to ids and back, as SentencePiece 0.2.3 does it, from a bundle's tokenizer.json.

Ids are equal to SentencePiece's, or to transformers' MarianTokenizer's for a Marian checkpoint, for every text; what
differs on purpose:

- Control pieces (``</s>``, ``<pad>``, ...) are never reached from text: their names are ordinary characters. Only a
  language code of a multilingual Marian model, ``>>de<<``, counts at the very beginning of a text, and tokens that a
  user writes on purpose (T5's ``<extra_id_0>``, ``<mask>``) count anywhere, the text between them for itself.
- A lone surrogate, which SentencePiece's Python wrapper refuses, is U+FFFD.
- An id outside the vocabulary decodes as the unknown piece; SentencePiece raises. MarianTokenizer with
  ``skip_special_tokens`` drops the unknown piece; here it shows as SentencePiece's `` ⁇ ``.
- BPE: two merges into one piece are one rule for SentencePiece and two, one after the other, for `tokenizers`.

In: text of up to `MAX_CHARACTERS`, ids. Out: ids without EOS, text. Nothing is cut short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from edgekit.bundle.single_file import PackedFile
from edgekit.errors import BundleError, InputError
from edgekit.runtime.bpe import Bpe
from edgekit.runtime.charsmap import Charsmap
from edgekit.runtime.tokenizer_file import HIDDEN, TokenizerFile, read_tokenizer_file
from edgekit.runtime.unigram import Unigram

# Some 200,000 words: a book, where a sentence is expected.
MAX_CHARACTERS = 1_000_000

_SPACE = "▁"
_SPACES = re.compile(" {2,}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INVALID_BYTE = re.compile("[\udc80-\udcff]")  # as errors="surrogateescape" shows them
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")
_LANGUAGE_CODE = re.compile(">>.*?<<", re.DOTALL)


class Tokenizer:
    """One SentencePiece vocabulary; threads may share it.

    Attributes:
        vocab_size: Ids are below this.
        unk_token_id: The id of text outside the vocabulary.
    """

    def __init__(self, file: TokenizerFile, vocab_size: int, unk_token_id: int | None = None) -> None:
        """Prepares the tables of a file that was read; see `load`.

        Raises:
            ValueError: The charsmap or the merges are damaged.
        """
        self.vocab_size = min(vocab_size, file.size)
        self.unk_token_id = file.unk_id if unk_token_id is None else unk_token_id
        self._file = file
        self._byte_ids, self._bytes = _read_bytes(file)
        self._charsmap = Charsmap(file.charsmap, file.user_defined)
        self._outside_spm = _read_outside_spm(file, self._pieces_of_text())
        if file.scores is None:
            self._segmenter = self._build_bpe(file)
        longest_first = sorted(file.added, key=len, reverse=True)
        self._added = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    @classmethod
    def load(cls, path: Path | PackedFile, vocab_size: int, unk_token_id: int | None = None) -> Tokenizer:
        """Loads a bundle's tokenizer.json.

        Args:
            path: The file.
            vocab_size: How many ids the model knows; pieces from here on become unknown.
            unk_token_id: The id of text outside the vocabulary; None for the file's own.

        Raises:
            BundleError: The file is missing or damaged, or edgekit did not write it.
        """
        file = read_tokenizer_file(path)
        try:
            return cls(file, vocab_size, unk_token_id)
        except ValueError as error:
            raise BundleError(
                f"{path}: expected a tokenizer.json from edgekit, found {error}; export the model again"
            ) from None

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without EOS; none for an empty text or one of white space.

        Raises:
            InputError: Not a text, or one of more than `MAX_CHARACTERS`.
        """
        if not isinstance(text, str):
            raise InputError(f"expected a text, found {type(text).__name__}")
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"expected a text of at most {MAX_CHARACTERS} characters, found {len(text)}; split it")
        code, text = self.split_language_code(text)
        text = _SURROGATE.sub("\ufffd", text)
        if self._added is None:
            return code + self._encode_plain(text)
        for index, part in enumerate(self._added.split(text)):
            code += [self._file.added[part]] if index % 2 else self._encode_plain(part)
        return code

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Returns the ids of each text; see `encode`."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids; control pieces such as EOS have none."""
        file, parts, pending = self._file, "", bytearray()
        at_start = file.add_dummy_prefix or file.remove_extra_whitespaces
        for index in ids:
            if (byte := self._bytes.get(index)) is not None:
                pending.append(byte)
                continue
            parts += _decode_bytes(pending)
            pending.clear()
            piece = self._piece_text(index)
            # SentencePieceProcessor::Decode: leading white space goes, all of it or the dummy prefix's one.
            if at_start and not parts and piece.startswith(_SPACE):
                piece = piece[1:]
                at_start = file.remove_extra_whitespaces
            parts += piece.replace(_SPACE, " ")
        parts += _decode_bytes(pending)
        return parts if file.language_codes is None else parts.strip()

    @cached_property
    def _segmenter(self) -> Unigram | Bpe:
        """Made by the first text of a Unigram model: its tables are large, and who only decodes needs none."""
        file = self._file
        assert file.scores is not None, "BPE has been made"
        symbols = set(file.user_defined)
        reachable = {
            piece: (index, score)
            for index, (piece, score) in enumerate(zip(self._pieces_of_text(), file.scores, strict=True))
            if not piece.startswith(HIDDEN)
        }
        min_score = min((score for piece, (_, score) in reachable.items() if piece not in symbols), default=0.0)
        return Unigram(reachable, file.unk_id, min_score)

    def _build_bpe(self, file: TokenizerFile) -> Bpe:
        pieces = self._pieces_of_text()
        vocab = {piece: index for index, piece in enumerate(pieces)}
        return Bpe(vocab, file.merges or [], pieces[file.unk_id], file.user_defined)

    def _pieces_of_text(self) -> list[str]:
        """The pieces, a byte's hidden: its name in a text is text."""
        return [HIDDEN + piece if index in self._bytes else piece for index, piece in enumerate(self._file.pieces)]

    def _encode_plain(self, text: str) -> list[int]:
        return self._to_ids(self._segmenter.encode(self._normalize(text)))

    def split_language_code(self, text: str) -> tuple[list[int], str]:
        """The id of a language code that a text begins with, if it does, and the rest of the text."""
        codes = self._file.language_codes
        if codes and (found := _LANGUAGE_CODE.match(text)) and found.group() in codes:
            return [codes[found.group()]], text[found.end() :]
        return [], text

    def _normalize(self, text: str) -> str:
        """Returns what SentencePiece segments (github.com/google/sentencepiece, Normalizer::Normalize)."""
        file = self._file
        mapped = self._charsmap.apply(text)
        if file.remove_extra_whitespaces:
            mapped = _SPACES.sub(" ", mapped).lstrip(" ")
        if not (mapped if file.remove_extra_whitespaces else text):
            return ""
        mapped = mapped.replace(" ", _SPACE)
        if file.add_dummy_prefix and not file.treat_whitespace_as_suffix:
            mapped = _SPACE + mapped
        if file.remove_extra_whitespaces:
            mapped = mapped.rstrip(_SPACE)
        if file.add_dummy_prefix and file.treat_whitespace_as_suffix:
            mapped += _SPACE
        return mapped

    def _to_ids(self, pieces: list[tuple[str, int]]) -> list[int]:
        """Returns ids the model knows; a run of unknown characters is one unknown, its bytes, or a word by itself."""
        unknown, limit, unk_id = self._file.unk_id, self.vocab_size, self.unk_token_id
        ids: list[int] = []
        run = ""
        for piece, index in pieces:
            if index == unknown:
                run += piece
                continue
            if run:
                ids += self._unknown_ids(run)
                run = ""
            ids.append(index if index < limit else unk_id)
        return ids + self._unknown_ids(run) if run else ids

    def _unknown_ids(self, run: str) -> list[int]:
        found = [self._byte_ids[byte] for byte in run.encode()] if self._byte_ids else [self._outside_spm.get(run, -1)]
        return [index if 0 <= index < self.vocab_size else self.unk_token_id for index in found]

    def _piece_text(self, index: int) -> str:
        if not 0 <= index < self.vocab_size or index == self._file.unk_id:
            return self._file.unk_surface
        return "" if index in self._file.control else self._file.pieces[index].removeprefix(HIDDEN)


def _read_bytes(file: TokenizerFile) -> tuple[list[int], dict[int, int]]:
    """Returns the id of each byte and the byte of each such id; nothing without byte_fallback."""
    if not file.byte_fallback:
        return [], {}
    found = {index: match[1] for index, piece in enumerate(file.pieces) if (match := _BYTE_PIECE.fullmatch(piece))}
    bytes_ = {index: int(digits, 16) for index, digits in found.items()}
    if sorted(bytes_.values()) != list(range(256)):
        raise ValueError("byte_fallback without a piece for each byte")
    return sorted(bytes_, key=bytes_.__getitem__), bytes_


def _read_outside_spm(file: TokenizerFile, pieces: list[str]) -> dict[str, int]:
    """Returns the entries of a Marian vocabulary that the SentencePiece model has not.

    MarianTokenizer looks every piece up, runs of unknown characters too, so such a run may be a word of vocab.json.
    """
    if file.language_codes is None:
        return {}
    outside = (index for index, piece in enumerate(pieces) if piece.startswith(HIDDEN))
    return {pieces[index].removeprefix(HIDDEN): index for index in outside if index not in file.control}


def _decode_bytes(data: bytearray) -> str:
    """Returns the text of UTF-8 bytes; each byte that is none is U+FFFD, as in SentencePiece."""
    return _INVALID_BYTE.sub("\ufffd", data.decode(errors="surrogateescape")) if data else ""
