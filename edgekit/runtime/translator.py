"""Text in, translation out: what an app embeds.

A `Translator` is thread-safe, holds no state between calls, prints nothing and never touches the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from edgekit.bundle.manifest import Generation, Manifest
from edgekit.bundle.read import Bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime.arguments import texts, token_ids, whole_number
from edgekit.runtime.batching import DEFAULT_BATCH_TOKENS, batch_by_tokens
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.segment import split_text
from edgekit.runtime.session import create_session
from edgekit.runtime.shortlist import load_shortlist
from edgekit.runtime.tokenizer import Tokenizer

# Models are trained on single sentences: filled up to what they take, they leave out sentences. 300 sentences of
# flores-dev as one text: chrF 32 in pieces of 255 tokens, 57 of 63, 59 of 40 (firefox-en-pt: 77 of 127, 81 of 40).
PIECE_TOKENS = 40


class Translator:
    """A translation model of a bundle, loaded; make one with `edgekit.load`.

    Attributes:
        manifest: what the bundle says about itself.
        source_tokenizer: source text to ids (without EOS).
        target_tokenizer: target ids to text.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Loads the graphs and tokenizers of an opened bundle.

        Args:
            bundle: from `edgekit.bundle.read.open_bundle`.
            threads: threads that one call may use; None for the measured default, 1.

        Raises:
            BundleError: a file of the bundle can't be loaded.
            InputError: ``threads`` is below 1.
        """
        manifest = bundle.manifest
        if manifest.kind != "seq2seq":
            raise BundleError(f"{bundle.path}: a {manifest.kind} bundle can't translate; export a seq2seq model")
        self.manifest: Manifest = manifest
        assert isinstance(manifest.generation, Generation)
        self._generation = manifest.generation
        files, unk = manifest.tokenizer, self._generation.unk_token_id
        self.source_tokenizer = Tokenizer.load(bundle.file(files.source), files.source_vocab_size, unk)
        self.target_tokenizer = (
            self.source_tokenizer
            if files.source == files.target
            else Tokenizer.load(bundle.file(files.target), files.target_vocab_size, unk)
        )
        self._search = GreedySearch(
            manifest,
            create_session(bundle.file(manifest.graphs["encoder"].file), threads),
            create_session(bundle.file(manifest.graphs["decoder"].file), threads),
            load_shortlist(bundle.path, manifest),
        )

    @overload
    def translate(self, text: str, *, batch_tokens: int = ..., max_length: int | None = ...) -> str: ...
    @overload
    def translate(self, text: list[str], *, batch_tokens: int = ..., max_length: int | None = ...) -> list[str]: ...

    def translate(
        self,
        text: str | list[str],
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
    ) -> str | list[str]:
        """Translates one text or many.

        A text longer than the model takes is cut at sentence ends (else at commas, spaces), translated and joined with
        spaces. A text without a letter or digit (blank, punctuation, emoji) comes back as it is.

        Args:
            text: one text, or a list; translations come back in the same form and order.
            batch_tokens: padded source tokens that run together; more is faster in bulk and takes more memory.
            max_length: most target tokens for each piece; None for a limit relative to the source's length.

        Raises:
            InputError: not a text, or a number below 1.
        """
        if isinstance(text, str):
            return self.translate([text], batch_tokens=batch_tokens, max_length=max_length)[0]
        batch_tokens, max_length = _limits(batch_tokens, max_length)
        originals = texts(text)
        pieces: list[list[int]] = []
        slots: list[range] = []
        for one in originals:
            ids = self._encode(one)
            slots.append(range(len(pieces), len(pieces) + len(ids)))
            pieces += ids
        outputs = self.generate_ids(pieces, batch_tokens=batch_tokens, max_length=max_length)
        decoded = [self.target_tokenizer.decode(ids) for ids in outputs]
        return [" ".join(decoded[i] for i in slot) if slot else one for one, slot in zip(originals, slots, strict=True)]

    def generate_ids(
        self,
        input_ids: Sequence[Sequence[int]],
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
    ) -> list[list[int]]:
        """Greedy search for callers who tokenise themselves.

        Args:
            input_ids: source ids of each sentence, EOS included.
            batch_tokens: as in `translate`.
            max_length: as in `translate`.

        Returns:
            Target ids of each sentence, without EOS, in the order of ``input_ids``.

        Raises:
            InputError: an empty sentence, one longer than the model takes, or an id outside the vocabulary.
        """
        batch_tokens, max_length = _limits(batch_tokens, max_length)
        rows = token_ids(input_ids)
        self._check_ids(rows)
        results: list[list[int]] = [[] for _ in rows]
        for batch in batch_by_tokens([len(row) for row in rows], batch_tokens):
            for index, ids in zip(batch, self._search.search([rows[i] for i in batch], max_length), strict=True):
                results[index] = ids
        return results

    def _encode(self, text: str) -> list[list[int]]:
        """Source ids with EOS for each piece of a text; none for a text without a letter or digit."""
        if not any(character.isalnum() for character in text):
            return []
        generation = self._generation
        room = generation.max_source_tokens - 1
        encode = self.source_tokenizer.encode
        ids = encode(text)
        if len(ids) <= room:
            return [[*ids, generation.eos_token_id]]
        longest = min(room, PIECE_TOKENS)
        pieces = [encode(piece) for piece in split_text(text, lambda piece: len(encode(piece)) <= longest)]
        return [[*piece[:room], generation.eos_token_id] for piece in pieces]

    def _check_ids(self, rows: list[list[int]]) -> None:
        longest, vocabulary = self._generation.max_source_tokens, self.manifest.tokenizer.source_vocab_size
        for index, row in enumerate(rows):
            if not 0 < len(row) <= longest:
                raise InputError(f"sentence {index} has {len(row)} ids; this model takes 1 to {longest}, EOS included")
            if min(row) < 0 or max(row) >= vocabulary:
                raise InputError(f"sentence {index} has ids outside the vocabulary, 0 to {vocabulary - 1}")


def _limits(batch_tokens: int, max_length: int | None) -> tuple[int, int | None]:
    """Both checked: `InputError` if one is no whole number from 1."""
    return (
        whole_number("batch_tokens", batch_tokens),
        None if max_length is None else whole_number("max_length", max_length),
    )
