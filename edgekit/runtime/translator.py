"""Text in, translation out: what an app embeds.

A `Translator` is thread-safe, holds no state between calls, prints nothing and never touches the network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, overload

from edgekit.bundle.manifest import Generation, Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.cache import find_bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime.arguments import texts, whole_number
from edgekit.runtime.batching import DEFAULT_BATCH_TOKENS
from edgekit.runtime.beam_scores import BeamSettings, ScoredIds
from edgekit.runtime.languages import Prompt, find_prompt
from edgekit.runtime.segment import split_text
from edgekit.runtime.seq2seq_search import Seq2SeqSearch
from edgekit.runtime.tokenizer import Tokenizer

# Models are trained on single sentences: filled up to what they take, they leave out sentences. 300 sentences of
# flores-dev as one text: chrF 32 in pieces of 255 tokens, 57 of 63, 59 of 40 (firefox-en-pt: 77 of 127, 81 of 40).
PIECE_TOKENS = 40
# How many beams look for n hypotheses, unless the caller says.
DEFAULT_BEAMS = 4

EarlyStopping = bool | Literal["never"]


class Hypothesis(NamedTuple):
    """A translation and its score: the log-probability of its tokens over their number to the length penalty's power.

    Of a text that was cut, the mean of its pieces' scores.
    """

    text: str
    score: float


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
        self._search = Seq2SeqSearch(bundle, threads)

    @classmethod
    def load(cls, path: str | os.PathLike[str], threads: int | None = None) -> Translator:
        """Loads a translation model.

        Args:
            path: a bundle, or the name of one that was exported.
            threads: threads that one call may use; None for the measured default, 1.

        Raises:
            ModelNotFoundError: there is no such bundle.
            BundleError: it is damaged, or no translation model.
            InputError: ``threads`` is below 1.
        """
        return cls(open_bundle(find_bundle(Path(path))), threads)

    @overload
    def translate(
        self,
        text: str,
        *,
        beams: int = ...,
        length_penalty: float = ...,
        early_stopping: EarlyStopping = ...,
        batch_tokens: int = ...,
        max_length: int | None = ...,
        source_language: str | None = ...,
        target_language: str | None = ...,
    ) -> str: ...
    @overload
    def translate(
        self,
        text: list[str],
        *,
        beams: int = ...,
        length_penalty: float = ...,
        early_stopping: EarlyStopping = ...,
        batch_tokens: int = ...,
        max_length: int | None = ...,
        source_language: str | None = ...,
        target_language: str | None = ...,
    ) -> list[str]: ...

    def translate(
        self,
        text: str | list[str],
        *,
        beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> str | list[str]:
        """Translates one text or many.

        A text longer than the model takes is cut at sentence ends (else at commas, spaces), translated and joined with
        spaces. A text without a letter or digit (blank, punctuation, emoji) comes back as it is.

        Args:
            text: one text, or a list; translations come back in the same form and order.
            beams: hypotheses followed at once, up to 64; 1 is greedy search. The first call with more loads the
                decoder of beam search.
            length_penalty: power of the length that a hypothesis's log-probability is divided by, -10 to 10.
            early_stopping: when beam search is done with a sentence, as in transformers: True with ``beams``
                hypotheses, False once no beam looks better than them, "never" once none can become better.
            batch_tokens: padded source tokens that run together, for every two beams; 512 measured fastest in bulk for
                small models, more may be for large ones, and takes more memory.
            max_length: most target tokens for each piece; None for a limit relative to the source's length.
            source_language: code of the texts' language, of a model that has many; None for the bundle's own.
            target_language: code of the language to translate into, likewise.

        Raises:
            InputError: not a text, a number outside its range, or a language that the model doesn't have.
            BundleError: more than one beam, and a bundle of an edgekit that had no beam search.
        """
        if isinstance(text, str):
            text, single = [text], True
        else:
            single = False
        originals = texts(text)
        prompt = find_prompt(self.manifest, source_language, target_language)
        pieces, slots = self._cut(originals, prompt)
        outputs = self.generate_ids(
            pieces,
            start_ids=prompt.start_ids,
            beams=beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            batch_tokens=batch_tokens,
            max_length=max_length,
        )
        decoded = [self.target_tokenizer.decode(ids) for ids in outputs]
        found = [
            " ".join(decoded[i] for i in slot) if slot else one for one, slot in zip(originals, slots, strict=True)
        ]
        return found[0] if single else found

    @overload
    def n_best(
        self,
        text: str,
        n: int,
        *,
        beams: int | None = ...,
        length_penalty: float = ...,
        early_stopping: EarlyStopping = ...,
        batch_tokens: int = ...,
        max_length: int | None = ...,
        source_language: str | None = ...,
        target_language: str | None = ...,
    ) -> list[Hypothesis]: ...
    @overload
    def n_best(
        self,
        text: list[str],
        n: int,
        *,
        beams: int | None = ...,
        length_penalty: float = ...,
        early_stopping: EarlyStopping = ...,
        batch_tokens: int = ...,
        max_length: int | None = ...,
        source_language: str | None = ...,
        target_language: str | None = ...,
    ) -> list[list[Hypothesis]]: ...

    def n_best(
        self,
        text: str | list[str],
        n: int,
        *,
        beams: int | None = None,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> list[Hypothesis] | list[list[Hypothesis]]:
        """The ``n`` best translations of one text or many, with their scores, best first.

        A text is cut as by `translate`; its first translation is then made of its pieces' first, and so on. A text
        without a letter or digit has one, itself, of score 0.

        Args:
            text: one text, or a list; results come back in the same form and order.
            n: how many, up to ``beams``; two of them may be the same text, tokenised in two ways.
            beams: as in `translate`; None for the larger of ``n`` and 4. One beam is greedy search with a score.
            length_penalty: as in `translate`.
            early_stopping: as in `translate`.
            batch_tokens: as in `translate`.
            max_length: as in `translate`.
            source_language: as in `translate`.
            target_language: as in `translate`.

        Raises:
            InputError: not a text, a number outside its range, or a language that the model doesn't have.
            BundleError: a bundle of an edgekit that had no beam search.
        """
        single = isinstance(text, str)
        originals = [text] if isinstance(text, str) else texts(text)
        prompt = find_prompt(self.manifest, source_language, target_language)
        pieces, slots = self._cut(originals, prompt)
        scored = self.n_best_ids(
            pieces,
            n,
            start_ids=prompt.start_ids,
            beams=beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            batch_tokens=batch_tokens,
            max_length=max_length,
        )
        found = [
            [self._join(parts) for parts in zip(*(scored[i] for i in slot), strict=False)]
            if slot
            else [Hypothesis(one, 0.0)]
            for one, slot in zip(originals, slots, strict=True)
        ]
        return found[0] if single else found

    def generate_ids(
        self,
        input_ids: Sequence[Sequence[int]],
        *,
        beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
        start_ids: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """`translate` for callers who tokenise themselves.

        Args:
            input_ids: source ids of each sentence, EOS included.
            beams: as in `translate`.
            length_penalty: as in `translate`.
            early_stopping: as in `translate`.
            batch_tokens: as in `translate`.
            max_length: as in `translate`.
            start_ids: the decoder's start token and the target tokens that follow whatever it says (of a language,
                see `edgekit.runtime.languages`); None for the bundle's own.

        Returns:
            Target ids of each sentence, without EOS and ``start_ids``, in the order of ``input_ids``.

        Raises:
            InputError: an empty sentence, one longer than the model takes, an id outside the vocabulary, or a number
                outside its range.
            BundleError: as in `translate`.
        """
        settings = BeamSettings.checked(beams, length_penalty, early_stopping)
        if settings.beams > 1:
            found = self._search.beams(input_ids, settings, *_limits(batch_tokens, max_length), start_ids)
            return [hypotheses[0].ids for hypotheses in found]
        return self._search.greedy(input_ids, *_limits(batch_tokens, max_length), start_ids)

    def n_best_ids(
        self,
        input_ids: Sequence[Sequence[int]],
        n: int,
        *,
        beams: int | None = None,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        max_length: int | None = None,
        start_ids: Sequence[int] | None = None,
    ) -> list[list[ScoredIds]]:
        """`n_best` for callers who tokenise themselves: arguments as there, sentences and errors as `generate_ids`'s.

        Returns:
            Target ids without EOS, and their score, of the best hypotheses of each sentence, best first.
        """
        n = whole_number("n", n)
        settings = BeamSettings.checked(
            max(n, DEFAULT_BEAMS) if beams is None else beams, length_penalty, early_stopping
        )
        if n > settings.beams:
            raise InputError(f"n must be at most the number of beams, {settings.beams}, found {n}")
        if settings.beams == 1:
            settings = dataclasses.replace(settings, early_stopping=True)  # what greedy search does
        found = self._search.beams(input_ids, settings, *_limits(batch_tokens, max_length), start_ids)
        return [hypotheses[:n] for hypotheses in found]

    def _cut(self, originals: list[str], prompt: Prompt) -> tuple[list[list[int]], list[range]]:
        """Source ids of every piece of every text, and which of them each text has."""
        pieces: list[list[int]] = []
        slots: list[range] = []
        for one in originals:
            ids = self._encode(one, prompt)
            slots.append(range(len(pieces), len(pieces) + len(ids)))
            pieces += ids
        return pieces, slots

    def _join(self, parts: Sequence[ScoredIds]) -> Hypothesis:
        text = " ".join(self.target_tokenizer.decode(part.ids) for part in parts)
        return Hypothesis(text, sum(part.score for part in parts) / len(parts))

    def _encode(self, text: str, prompt: Prompt) -> list[list[int]]:
        """Source ids, those of the prompt included, for each piece of a text; none without a letter or digit."""
        if not any(character.isalnum() for character in text):
            return []
        generation = self._generation
        room = generation.max_source_tokens - prompt.length
        encode = self.source_tokenizer.encode
        ids = encode(text)
        if len(ids) <= room:
            return [prompt.around(ids)]
        if self.manifest.task != "translation":
            # Not a sequence of sentences, each of which has a translation: a summary is of the whole.
            raise InputError(f"this text has {len(ids)} tokens; the model takes at most {room}: shorten it")
        longest = min(room, PIECE_TOKENS)
        pieces = [encode(piece) for piece in split_text(text, lambda piece: len(encode(piece)) <= longest)]
        return [prompt.around(piece[:room]) for piece in pieces]


def _limits(batch_tokens: int, max_length: int | None) -> tuple[int, int | None]:
    """Both checked: `InputError` if one is no whole number from 1."""
    return (
        whole_number("batch_tokens", batch_tokens),
        None if max_length is None else whole_number("max_length", max_length),
    )
