"""BPE segmentation as SentencePiece does it, by the `tokenizers` library.

In: pieces, merges and normalised text. Out: pieces and ids. `tokenizers` (written in Rust) may panic on input that
breaks its own assumptions; a panic is no Exception, so it is caught here and becomes an `InputError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.errors import InputError


class Bpe:
    """Segments text into the pieces of one BPE model; threads may share it.

    Args:
        vocab: Every piece's id.
        merges: Pairs of pieces to merge, best first.
        unk_piece: The unknown piece, which no text may contain.
        symbols: User-defined symbols: never merged with their neighbours; the longest that matches wins.

    Raises:
        ValueError: A merge of pieces that are not in the vocabulary.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: list[tuple[str, str]], unk_piece: str, symbols: tuple[str, ...]
    ) -> None:
        # Here, because Unigram models, which most are, do without it and start sooner.
        from tokenizers import Tokenizer, models

        try:
            model = models.BPE(vocab=dict(vocab), merges=merges, unk_token=unk_piece, fuse_unk=False)
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(str(error)) from None
        self._vocab = vocab
        self._tokenizer = Tokenizer(model)
        longest_first = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
        self._symbols = re.compile(f"({longest_first})") if symbols else None

    def encode(self, text: str) -> list[tuple[str, int]]:
        """Returns the pieces of a normalised text with their ids, in order; each unknown character is a piece.

        Raises:
            InputError: The library panicked.
        """
        if self._symbols is None:
            return self._merge(text)
        pieces: list[tuple[str, int]] = []
        for index, part in enumerate(self._symbols.split(text)):
            pieces += [(part, self._vocab[part])] if index % 2 else self._merge(part)
        return pieces

    def _merge(self, text: str) -> list[tuple[str, int]]:
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except BaseException as error:
            # pyo3's PanicException cannot be imported: https://pyo3.rs/main/doc/pyo3/panic/struct.PanicException
            if type(error).__name__ != "PanicException":
                raise
            raise InputError(f"a text of {len(text)} characters made the tokenizer fail; change the text") from None
        pieces = zip(encoding.offsets, encoding.ids, strict=True)
        return [(text[start:end], piece_id) for (start, end), piece_id in pieces]
