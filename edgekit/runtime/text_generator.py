"""Prompt in, text out: what an app embeds of a decoder-only model.

A `TextGenerator` is thread-safe, prints nothing and never touches the network. Between calls it keeps nothing but a
bounded cache of what it has read, which makes the next prompt with the same beginning cheaper.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Unpack, overload

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.generation import TextGeneration
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.cache import find_bundle
from edgekit.errors import BundleError, InputError, UnsupportedError
from edgekit.runtime import asynchronous
from edgekit.runtime import generation_arguments as arguments
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.causal_search import CausalSearch, Row
from edgekit.runtime.chat_template import ChatTemplate
from edgekit.runtime.generation_options import GenerationOptions, Options, SamplingOptions
from edgekit.runtime.hub_tokenizer import HubTokenizer
from edgekit.runtime.memory import LoadedSessions, Memory, weights_bytes
from edgekit.runtime.ports import check_causal_ports
from edgekit.runtime.prefix_cache import PrefixCache
from edgekit.runtime.sampling import Sampler
from edgekit.runtime.scoring import TextScore, calculate_logits, most_likely, score_ids
from edgekit.runtime.self_check import check_once
from edgekit.runtime.session import create_session
from edgekit.runtime.token_stream import TokenStream, decode

# A few thousand tokens of a model of 135 million parameters: a long conversation.
DEFAULT_PREFIX_CACHE_BYTES = 128 * 2**20


class TextGenerator:
    """A decoder-only model of a bundle, loaded; make one with `edgekit.load` or `TextGenerator.load`.

    Attributes:
        manifest: What the bundle says about itself.
        tokenizer: Text to ids and back.
        context_length: Most tokens of a prompt and its text together.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        *,
        prefix_cache_bytes: int = DEFAULT_PREFIX_CACHE_BYTES,
    ) -> None:
        """Loads the graph and the tokenizer of an opened bundle.

        Args:
            bundle: From `edgekit.bundle.read.open_bundle`.
            threads: Threads that one call may use; None for the measured default, 1.
            prefix_cache_bytes: Most memory for what was read before; 0 for none.

        Raises:
            BundleError: A file of the bundle can't be loaded, or the bundle's self-check fails on this CPU.
            InputError: ``threads`` is below 1, or ``prefix_cache_bytes`` below 0.
        """
        manifest = bundle.manifest
        if not isinstance(manifest.generation, TextGeneration):
            raise BundleError(
                f"{bundle.path}: a {manifest.kind} bundle can't generate text; export a decoder-only model, or use "
                "Translator"
            )
        prefix_cache_bytes = arguments.integer("prefix_cache_bytes", prefix_cache_bytes, 0, sys.maxsize)
        self.manifest: Manifest = manifest
        self.context_length = manifest.generation.context_length
        self._generation = generation = manifest.generation
        control = {generation.bos_token_id, generation.pad_token_id, *generation.eos_token_ids} - {None}
        files = manifest.tokenizer
        self.tokenizer = HubTokenizer.load(
            bundle.file(files.source), files.source_vocab_size, sorted(index for index in control if index is not None)
        )
        self._chat = (
            ChatTemplate.load(bundle.file(manifest.chat.template), manifest.chat.special_tokens, self.tokenizer)
            if manifest.chat
            else None
        )
        self._loaded = LoadedSessions()
        with self._loaded.measure("model"):
            session = create_session(bundle.file(manifest.graphs["model"].file), threads)
        check_causal_ports(manifest, session)
        self._prefixes = PrefixCache(prefix_cache_bytes)
        self._search: CausalSearch | None = CausalSearch(manifest, session, self._prefixes)
        recorded, search = manifest.self_check, self._search
        check_once(bundle, lambda: most_likely(search, recorded.input_ids, recorded.output_ids))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        threads: int | None = None,
        *,
        prefix_cache_bytes: int = DEFAULT_PREFIX_CACHE_BYTES,
    ) -> TextGenerator:
        """Loads an exported decoder-only model; see `edgekit.load` and `TextGenerator`.

        Raises:
            ModelNotFoundError: There is no such bundle.
            BundleError: The bundle is damaged, or of another kind.
        """
        return cls(open_bundle(find_bundle(Path(path))), threads, prefix_cache_bytes=prefix_cache_bytes)

    @overload
    def generate(self, prompt: str, **options: Unpack[GenerationOptions]) -> str: ...
    @overload
    def generate(self, prompt: list[str], **options: Unpack[GenerationOptions]) -> list[str]: ...

    def generate(self, prompt: str | list[str], **options: Unpack[GenerationOptions]) -> str | list[str]:
        """Goes on with one prompt or many.

        Args:
            prompt: One text, or a list; what follows comes back in the same form and order, without the prompt.
            **options: See `GenerationOptions`.

        Raises:
            InputError: An empty prompt, one longer than the context, or an option outside its range.
        """
        if isinstance(prompt, str):
            return self.generate([prompt], **options)[0]
        texts = arguments.prompts(prompt, "generate")
        checked = Options.check(**options)
        rows = [self._row(self.encode(text), checked, f"prompt {index}") for index, text in enumerate(texts)]
        return self._texts(rows, checked, at_start=False)

    def stream(self, prompt: str, **options: Unpack[GenerationOptions]) -> Iterator[str]:
        """Goes on with a prompt, piece by piece.

        The pieces are whole characters, never empty, and joined they are what `generate` gives. Closing the iterator
        ends the work at once.

        Args:
            prompt: One text.
            **options: See `GenerationOptions`.

        Raises:
            InputError: As `generate`, before the first piece is asked for.
        """
        (text,) = arguments.prompts([prompt], "stream")
        checked = Options.check(**options)
        return self._stream(self._row(self.encode(text), checked, "the prompt"), checked, at_start=False)

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[GenerationOptions]) -> str:
        """The assistant's answer in a conversation.

        Args:
            messages: ``[{"role": "user", "content": "Hello!"}]``; roles are system, user and assistant. A control token
                spelled in a message is text.
            **options: See `GenerationOptions`.

        Raises:
            InputError: Messages of another form, or that the model's template refuses; and as `generate`.
            UnsupportedError: The model has no chat template.
            MissingExtraError: jinja2 is not installed.
        """
        return "".join(self.stream_chat(messages, **options))

    def stream_chat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[GenerationOptions]) -> Iterator[str]:
        """The assistant's answer piece by piece; see `chat` and `stream`."""
        ids = self.encode_chat(messages)
        checked = Options.check(**options)
        row = self._row(ids, checked, "the conversation")
        return self._stream(row, checked, at_start=True)

    def chat_each(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], **options: Unpack[GenerationOptions]
    ) -> list[str]:
        """The assistant's answers in many conversations, generated together; otherwise as `chat`."""
        checked = Options.check(**options)
        rows = [
            self._row(self.encode_chat(messages), checked, f"conversation {index}")
            for index, messages in enumerate(conversations)
        ]
        return self._texts(rows, checked, at_start=True)

    def generate_ids(self, prompts: Sequence[Sequence[int]], **options: Unpack[SamplingOptions]) -> list[list[int]]:
        """Goes on with prompts of callers who tokenise themselves.

        Args:
            prompts: Ids of each prompt, BOS included where the model begins with one.
            **options: See `SamplingOptions`.

        Returns:
            The new ids of each prompt, without EOS, in the order of ``prompts``.

        Raises:
            InputError: An empty prompt, one longer than the context, an id outside the vocabulary, or an option outside
                its range.
        """
        checked = Options.check(**options)
        found = arguments.id_rows(prompts, self.tokenizer.vocab_size, "generate_ids")
        rows = [self._row(ids, checked, f"prompt {index}") for index, ids in enumerate(found)]
        for _ in self._run(rows, checked):
            pass
        return [row.ids for row in rows]

    def stream_ids(self, prompt: Sequence[int], **options: Unpack[SamplingOptions]) -> Iterator[int]:
        """Goes on with one prompt's ids, id by id; what is wrong shows when this is called.

        Args:
            prompt: Ids, BOS included where the model begins with one.
            **options: See `SamplingOptions`.

        Raises:
            InputError: As `generate_ids`.
        """
        ids = arguments.id_row(prompt, self.tokenizer.vocab_size, "stream_ids: the prompt")
        checked = Options.check(**options)
        row = self._row(ids, checked, "the prompt")
        return self._ids(row, self._run([row], checked))

    def score(
        self, texts: Iterable[str], *, timeout: float | None = None, cancellation: Cancellation | None = None
    ) -> list[TextScore]:
        """How probable the model finds each token of each text after those before it.

        Args:
            texts: Texts of at most the context's length.
            timeout: Seconds after which it ends with a `DeadlineError`.
            cancellation: By which another thread may end it.

        Raises:
            InputError: Not texts, an empty one, or one longer than the context.
        """
        if isinstance(texts, str):
            raise InputError("score takes a list of texts, found str")
        rows = [self.encode(text) for text in arguments.prompts(texts, "score")]
        for index, ids in enumerate(rows):
            self._check_length(len(ids), f"text {index}")
        with Cancellation(timeout, cancellation).running():
            return [score_ids(self._running(), ids) for ids in rows]

    def logits(
        self,
        token_ids: Sequence[int],
        first: int = 0,
        *,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> NDArray[np.float32]:
        """Logits of what follows each id from ``first`` on: ``float32 [len(token_ids) - first, vocabulary]``.

        Args:
            token_ids: At least one, at most what the context holds.
            first: How many are context only, of which no logits are asked; below ``len(token_ids)``.
            timeout: Seconds after which it ends with a `DeadlineError`.
            cancellation: By which another thread may end it.

        Raises:
            InputError: No ids, more than the context holds, one outside the vocabulary, or no id from ``first`` on.
        """
        ids = arguments.id_row(token_ids, self.tokenizer.vocab_size, "token_ids")
        self._check_length(len(ids), "token_ids")
        start = arguments.integer("first", first, 0, len(ids) - 1)
        with Cancellation(timeout, cancellation).running():
            return calculate_logits(self._running(), ids, start)

    def encode(self, text: str) -> list[int]:
        """The ids that `generate` feeds the model: BOS first where the model begins with one, control tokens as text.

        Raises:
            InputError: Not a text, or one of more than a million characters.
        """
        ids = self.tokenizer.encode(text)
        bos = self._generation.bos_token_id
        return [bos, *ids] if self._generation.adds_bos and bos is not None else ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids that `chat` feeds the model: a conversation, and the beginning of the answer; errors as `chat`'s."""
        conversation = arguments.messages(messages)
        if self._chat is None:
            raise UnsupportedError(f"{self.manifest.name} has no chat template; use generate")
        return self._chat.encode(conversation)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; control tokens have none."""
        return decode(self.tokenizer, ids)

    async def agenerate(self, prompt: str, **options: Unpack[GenerationOptions]) -> str:
        """`generate` for one prompt in a thread; cancelling the task that awaits it ends the work at its next token."""
        found: str = await asynchronous.call(self.generate, prompt, options)
        return found

    def astream(self, prompt: str, **options: Unpack[GenerationOptions]) -> AsyncIterator[str]:
        """`stream` in a thread: ``async for``; cancelling its task or closing it ends the work at its next token."""
        return asynchronous.iterate(self.stream, prompt, options)

    async def achat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[GenerationOptions]) -> str:
        """`chat` in a thread; see `agenerate`."""
        found: str = await asynchronous.call(self.chat, messages, options)
        return found

    def astream_chat(
        self, messages: Sequence[Mapping[str, str]], **options: Unpack[GenerationOptions]
    ) -> AsyncIterator[str]:
        """`stream_chat` in a thread; see `astream`."""
        return asynchronous.iterate(self.stream_chat, messages, options)

    def memory(self) -> Memory:
        """What the model takes; `Memory` says what is counted."""
        self._running()
        return Memory(weights_bytes(self.manifest), self._loaded.size_bytes, self._prefixes.size_bytes)

    def close(self) -> None:
        """Lets go of the model and of what was remembered; calls that run in other threads end as usual."""
        self._search = None
        self._prefixes.clear()

    def __enter__(self) -> TextGenerator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, rows: Sequence[Row], options: Options) -> Generator[Row, None, None]:
        """Each row as often as it gets an id; a closed model shows when this is called."""
        return options.cancellation.limit(self._running().run(rows))

    def _running(self) -> CausalSearch:
        if self._search is None:
            raise InputError("this text generator has been closed; load the model again")
        return self._search

    def _row(self, ids: list[int], options: Options, what: str) -> Row:
        """A prompt to run, with what is left of the context as its limit."""
        if not ids:
            raise InputError(f"{what} must hold at least one token, found none")
        room = self.context_length - len(ids)
        if room < 1:
            raise InputError(
                f"{what} has {len(ids)} tokens; {self.manifest.name} takes at most {self.context_length - 1}, one less "
                f"than its context of {self.context_length}; shorten it"
            )
        sampling = options.sampling
        sampler = Sampler(sampling, ids, self.tokenizer.vocab_size) if sampling.needs_logits else None
        limit = min(options.max_new_tokens, room)
        return Row(ids, limit, sampler, ends_at_eos=not options.ignore_eos, drafted=options.prompt_lookup)

    def _texts(self, rows: list[Row], options: Options, *, at_start: bool) -> list[str]:
        """The whole texts of rows that run together."""
        streams = {id(row): TokenStream(self.tokenizer, options.stop, at_start=at_start) for row in rows}
        pieces: dict[int, list[str]] = {key: [] for key in streams}
        for row in self._run(rows, options):
            pieces[id(row)].append(streams[id(row)].push(row.ids[-1]))
            row.done = streams[id(row)].stopped
        return ["".join([*pieces[id(row)], streams[id(row)].finish()]) for row in rows]

    def _stream(self, row: Row, options: Options, *, at_start: bool) -> Iterator[str]:
        """Pieces of one row's text; what is wrong shows when this is called, the work begins with the first piece."""
        stream = TokenStream(self.tokenizer, options.stop, at_start=at_start)
        return self._pieces(row, self._run([row], options), stream)

    @staticmethod
    def _ids(row: Row, running: Generator[Row, None, None]) -> Iterator[int]:
        with contextlib.closing(running):
            for _ in running:
                yield row.ids[-1]

    @staticmethod
    def _pieces(row: Row, running: Generator[Row, None, None], stream: TokenStream) -> Iterator[str]:
        with contextlib.closing(running):
            for _ in running:
                if piece := stream.push(row.ids[-1]):
                    yield piece
                row.done = stream.stopped
        if piece := stream.finish():
            yield piece

    def _check_length(self, count: int, what: str) -> None:
        if count > self.context_length:
            raise InputError(f"{what} has {count} tokens; the context of {self.manifest.name} is {self.context_length}")
