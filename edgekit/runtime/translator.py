"""Text in, translation out: what an app embeds.

A `Translator` is thread-safe, holds no state between calls, prints nothing and never touches the network.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Unpack, overload

from edgekit.bundle.manifest import Generation, Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.cache import find_bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime import asynchronous
from edgekit.runtime.arguments import texts, whole_number
from edgekit.runtime.beam_scores import ScoredIds
from edgekit.runtime.documents import Part, is_translatable, line_splitter, split_document
from edgekit.runtime.languages import Prompt, find_prompt
from edgekit.runtime.memory import Memory, give_back_freed, weights_bytes
from edgekit.runtime.protection import translate_protected
from edgekit.runtime.segment import split_text
from edgekit.runtime.self_check import check_once
from edgekit.runtime.seq2seq_search import Seq2SeqSearch
from edgekit.runtime.text_tokenizer import load_text_tokenizer
from edgekit.runtime.translation_options import Options, SearchOptions, TranslationOptions

# Models are trained on single sentences: filled up to what they take, they leave out sentences. 300 sentences of
# flores-dev as one text: chrF 32 in pieces of 255 tokens, 57 of 63, 59 of 40 (firefox-en-pt: 77 of 127, 81 of 40).
PIECE_TOKENS = 40
# Texts that `translate_iter` reads ahead, so that it can batch like with like.
DEFAULT_WINDOW = 256


class Hypothesis(NamedTuple):
    """A translation and its score: the log-probability of its tokens over their number to the length penalty's power.

    Of a text of several sentences, the mean of their scores.
    """

    text: str
    score: float


class Translator:
    """A translation model of a bundle, loaded; make one with `edgekit.load`.

    It can be used in a ``with`` statement, which closes it.

    Attributes:
        manifest: what the bundle says about itself.
        source_tokenizer: source text to ids (without EOS).
        target_tokenizer: target ids to text.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, *, low_memory: bool = False) -> None:
        """Loads the graphs and tokenizers of an opened bundle.

        Args:
            bundle: from `edgekit.bundle.read.open_bundle`.
            threads: threads that one call may use; None for the measured default, 1.
            low_memory: keep less between calls, hold one decoder at a time and run small batches: greedy search in bulk
                is slower, and a change between it and beam search loads a decoder. Translations are the same.

        Raises:
            BundleError: a file of the bundle can't be loaded, or the bundle's self-check fails on this CPU.
            InputError: ``threads`` is below 1.
        """
        manifest = bundle.manifest
        if manifest.kind != "seq2seq":
            raise BundleError(f"{bundle.path}: a {manifest.kind} bundle can't translate; export a seq2seq model")
        self.manifest: Manifest = manifest
        assert isinstance(manifest.generation, Generation)
        self._generation = manifest.generation
        # Loading a graph takes most for a moment: nothing else is there yet.
        self._search: Seq2SeqSearch | None = Seq2SeqSearch(bundle, threads, low_memory)
        files, unk = manifest.tokenizer, self._generation.unk_token_id
        self.source_tokenizer = load_text_tokenizer(bundle.file(files.source), files, files.source_vocab_size, unk)
        self.target_tokenizer = (
            self.source_tokenizer
            if files.source == files.target
            else load_text_tokenizer(bundle.file(files.target), files, files.target_vocab_size, unk)
        )
        give_back_freed()
        recorded, search = manifest.self_check, self._search.load_greedy_search()
        check_once(bundle, lambda: search.search([recorded.input_ids], len(recorded.output_ids))[0])

    @classmethod
    def load(cls, path: str | os.PathLike[str], threads: int | None = None, *, low_memory: bool = False) -> Translator:
        """Loads a translation model.

        Args:
            path: a bundle, or the name of one that was exported.
            threads: threads that one call may use; None for the measured default, 1.
            low_memory: see `Translator`.

        Raises:
            ModelNotFoundError: there is no such bundle.
            BundleError: it is damaged, or no translation model.
            InputError: ``threads`` is below 1.
        """
        return cls(open_bundle(find_bundle(Path(path))), threads, low_memory=low_memory)

    @overload
    def translate(self, text: str, **options: Unpack[TranslationOptions]) -> str: ...
    @overload
    def translate(self, text: list[str], **options: Unpack[TranslationOptions]) -> list[str]: ...

    def translate(self, text: str | list[str], **options: Unpack[TranslationOptions]) -> str | list[str]:
        """Translates one text or many, of any length.

        Sentence by sentence; line breaks, blank lines and indentation stay, and so does what has no letter or digit
        (punctuation, emoji). URLs, e-mail addresses, placeholders, tags and code come out as they went in. A sentence
        longer than the model takes is cut at commas or spaces.

        Args:
            text: one text, or a list; translations come back in the same form and order.
            **options: see `TranslationOptions`.

        Raises:
            InputError: not a text, or an option outside its range.
            BundleError: more than one beam, and a bundle of an edgekit that had no beam search.
            DeadlineError, CancelledError: ``timeout`` or ``cancellation`` ended it.
        """
        checked = Options.check(**options)
        originals = [text] if isinstance(text, str) else texts(text)
        with checked.cancellation.running():
            prompt = self._prompt(checked)
            documents = [self._parts(one, checked) for one in originals]
            sentences = [code + part.text for code, parts in documents for part in parts if part.is_translated]

            def run(sentences: list[str]) -> list[str]:
                return self._sentences(sentences, checked, prompt)

            spans = checked.protect
            translations = iter(run(sentences) if spans is None else translate_protected(sentences, run, spans))
            found = [
                "".join(next(translations) if part.is_translated else part.text for part in parts)
                for _, parts in documents
            ]
        return found[0] if isinstance(text, str) else found

    def translate_iter(
        self, texts: Iterable[str], *, window: int = DEFAULT_WINDOW, **options: Unpack[TranslationOptions]
    ) -> Iterator[str]:
        """Translates texts as they come, in their order and in bounded memory.

        Args:
            texts: any number; the next ones are asked for when translations have been taken.
            window: how many are read ahead and batched by length; 1 translates each as soon as it comes.
            **options: see `TranslationOptions`; ``timeout`` is for each window.

        Raises:
            InputError, BundleError, DeadlineError, CancelledError: as `translate`; of an option before the first text.
        """
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise InputError(f"translate_iter takes an iterable of texts, found {type(texts).__name__}")
        size = whole_number("window", window)
        Options.check(**options)
        self._running()
        return self._windows(iter(texts), size, options)

    @overload
    def n_best(self, text: str, n: int, **options: Unpack[TranslationOptions]) -> list[Hypothesis]: ...
    @overload
    def n_best(self, text: list[str], n: int, **options: Unpack[TranslationOptions]) -> list[list[Hypothesis]]: ...

    def n_best(
        self, text: str | list[str], n: int, **options: Unpack[TranslationOptions]
    ) -> list[Hypothesis] | list[list[Hypothesis]]:
        """The ``n`` best translations of one text or many, with their scores, best first.

        Of a text of several sentences the first translation is made of their first, and so on. A text without a letter
        or digit has one, itself, of score 0. Nothing is protected: a score is of what the model wrote.

        Args:
            text: one text, or a list; results come back in the same form and order.
            n: how many, up to ``beams``; two of them may be the same text, tokenised in two ways.
            **options: see `TranslationOptions`. One beam is greedy search with a score.

        Raises:
            InputError, BundleError, DeadlineError, CancelledError: as `translate`.
        """
        checked = Options.check(n=whole_number("n", n), **options)
        originals = [text] if isinstance(text, str) else texts(text)
        with checked.cancellation.running():
            prompt = self._prompt(checked)
            cut = [self._cut(one, checked, prompt) for one in originals]
            scored = iter(self._n_best(_sources(cut), n, checked, prompt))
            found = [self._join([part if isinstance(part, str) else next(scored) for part in parts]) for parts in cut]
        return found[0] if isinstance(text, str) else found

    def generate_ids(self, input_ids: Sequence[Sequence[int]], **options: Unpack[SearchOptions]) -> list[list[int]]:
        """`translate` for callers who tokenise themselves.

        Args:
            input_ids: source ids of each sentence, EOS included.
            **options: see `SearchOptions`.

        Returns:
            Target ids of each sentence, without EOS, in the order of ``input_ids``.

        Raises:
            InputError: an empty sentence, one longer than the model takes, an id outside the vocabulary, or an option
                outside its range.
            BundleError, DeadlineError, CancelledError: as `translate`.
        """
        checked = Options.check(**options)
        with checked.cancellation.running():
            return self._best(input_ids, checked, self._prompt(checked))

    def n_best_ids(
        self, input_ids: Sequence[Sequence[int]], n: int, **options: Unpack[SearchOptions]
    ) -> list[list[ScoredIds]]:
        """`n_best` for callers who tokenise themselves: arguments as there, sentences and errors as `generate_ids`'s.

        Returns:
            Target ids without EOS, and their score, of the best hypotheses of each sentence, best first.
        """
        checked = Options.check(n=whole_number("n", n), **options)
        with checked.cancellation.running():
            return self._n_best(input_ids, n, checked, self._prompt(checked))

    @overload
    async def atranslate(self, text: str, **options: Unpack[TranslationOptions]) -> str: ...
    @overload
    async def atranslate(self, text: list[str], **options: Unpack[TranslationOptions]) -> list[str]: ...

    async def atranslate(self, text: str | list[str], **options: Unpack[TranslationOptions]) -> str | list[str]:
        """`translate` in a thread; cancelling the task that awaits it ends the work at its next step."""
        found: str | list[str] = await asynchronous.call(self.translate, text, options)
        return found

    def atranslate_iter(
        self, texts: Iterable[str], *, window: int = DEFAULT_WINDOW, **options: Unpack[TranslationOptions]
    ) -> AsyncIterator[str]:
        """`translate_iter` in a thread, which reads ``texts`` too; closing it ends the work at its next step."""
        return asynchronous.iterate(self.translate_iter, texts, {**options, "window": window})

    def memory(self) -> Memory:
        """What the model takes; `Memory` says what is counted."""
        return Memory(weights_bytes(self.manifest), self._running().loaded.size_bytes, 0)

    def close(self) -> None:
        """Lets go of the model; calls that run in other threads end as usual, later ones are refused."""
        self._search = None

    def __enter__(self) -> Translator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _running(self) -> Seq2SeqSearch:
        if self._search is None:
            raise InputError("this translator has been closed; load the model again")
        return self._search

    def _prompt(self, options: Options) -> Prompt:
        return find_prompt(self.manifest, options.source_language, options.target_language)

    def _windows(self, texts: Iterator[str], size: int, options: TranslationOptions) -> Iterator[str]:
        while window := list(itertools.islice(texts, size)):
            yield from self.translate(window, **options)

    def _best(self, sources: Sequence[Sequence[int]], options: Options, prompt: Prompt) -> list[list[int]]:
        search, arguments = self._running(), (options.batch_tokens, options.max_length, prompt.start_ids)
        if options.settings.beams > 1:
            return [hypotheses[0].ids for hypotheses in search.beams(sources, options.settings, *arguments)]
        return search.greedy(sources, *arguments)

    def _n_best(
        self, sources: Sequence[Sequence[int]], n: int, options: Options, prompt: Prompt
    ) -> list[list[ScoredIds]]:
        arguments = (options.batch_tokens, options.max_length, prompt.start_ids)
        return [hypotheses[:n] for hypotheses in self._running().beams(sources, options.settings, *arguments)]

    def _sentences(self, sentences: list[str], options: Options, prompt: Prompt) -> list[str]:
        """The translation of each sentence, which may begin with a language code."""
        cut = [self._encode(sentence, prompt) for sentence in sentences]
        best = iter(self._best(_sources(cut), options, prompt))
        decode = self.target_tokenizer.decode
        return ["".join(part if isinstance(part, str) else decode(next(best)) for part in parts) for parts in cut]

    def _parts(self, text: str, options: Options) -> tuple[str, list[Part]]:
        """The language code that a text begins with, of a model that knows such codes, and the parts of the rest."""
        whole, text = text, self.source_tokenizer.split_language_code(text)[1]
        # What is no translation is not one sentence after the other either: a summary is of the whole.
        if options.split is False or (options.split is True and self.manifest.task != "translation"):
            parts = [Part(text, is_translatable(text))]
        else:
            split = line_splitter(self.manifest.languages.source) if options.split is True else options.split
            parts = split_document(text, split)
        return whole.removesuffix(text), parts

    def _cut(self, text: str, options: Options, prompt: Prompt) -> list[str | list[int]]:
        """A text as what is kept of it, and the source ids of what is translated."""
        code, parts = self._parts(text, options)
        return [
            piece
            for part in parts
            for piece in (self._encode(code + part.text, prompt) if part.is_translated else [part.text])
        ]

    def _encode(self, sentence: str, prompt: Prompt) -> list[str | list[int]]:
        """Source ids of a sentence; of one that is too long, of its pieces, with the spaces between."""
        code, sentence = self.source_tokenizer.split_language_code(sentence)
        room = self._generation.max_source_tokens - prompt.length - len(code)
        encode = self.source_tokenizer.encode
        ids = encode(sentence)
        if len(ids) <= room:
            return [prompt.around([*code, *ids])]
        if self.manifest.task != "translation":
            raise InputError(f"this text has {len(ids)} tokens; the model takes at most {room}: shorten it")
        longest = min(room, PIECE_TOKENS)
        pieces: list[str | list[int]] = []
        for piece in split_text(sentence, lambda piece: len(encode(piece)) <= longest):
            pieces += [" ", prompt.around([*code, *encode(piece)[:room]])]
        return pieces[1:]

    def _join(self, parts: Sequence[str | list[ScoredIds]]) -> list[Hypothesis]:
        """The hypotheses of a text, of those of its sentences."""
        ranked = [part for part in parts if not isinstance(part, str)]
        if not ranked:
            return [Hypothesis("".join(part for part in parts if isinstance(part, str)), 0.0)]
        decode = self.target_tokenizer.decode
        return [
            Hypothesis(
                "".join(part if isinstance(part, str) else decode(part[rank].ids) for part in parts),
                sum(part[rank].score for part in ranked) / len(ranked),
            )
            for rank in range(min(map(len, ranked)))
        ]


def _sources(texts: Iterable[Iterable[str | list[int]]]) -> list[list[int]]:
    """The source ids among the parts of texts."""
    return [part for parts in texts for part in parts if not isinstance(part, str)]
