"""A Hugging Face tokenizer.json as it is, run by the `tokenizers` library: text to ids, ids to bytes.

User text never becomes a control token: a special token's spelling in it is ordinary characters. Control tokens come
from a chat template's own text only (`HubTokenizer.encode_rendered`), and from the caller, who knows BOS.

In: text of up to `MAX_CHARACTERS`, ids. Out: ids, bytes. Refused, in one line: a file that `tokenizers` can't load, a
decoder whose tokens have no bytes of their own, and whatever makes the library panic.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers

from edgekit.bundle.single_file import PackedFile, read_bytes
from edgekit.errors import BundleError, InputError
from edgekit.runtime.token_bytes import Decoder, read_decoder
from edgekit.runtime.tokenizer_file import MAX_FILE_BYTES

# Some 200,000 words; a tokenizer takes seconds for more.
MAX_CHARACTERS = 1_000_000

_SURROGATE = re.compile("[\ud800-\udfff]")


class HubTokenizer:
    """One tokenizer.json; threads may share it.

    Attributes:
        vocab_size: Ids are below this.
        control: Ids of control tokens by their spelling.
        leading_strip: A character that a text loses at its beginning, and how often at most; None for none.
    """

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, decoder: Decoder, vocab_size: int, control_ids: Iterable[int], where: str
    ) -> None:
        """Takes over a loaded tokenizer; see `load`."""
        added = tokenizer.get_added_tokens_decoder()
        for index in control_ids:
            token = added[index].content if index in added else tokenizer.id_to_token(index)
            if token is not None and not (index in added and added[index].special):
                tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False)])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        added = tokenizer.get_added_tokens_decoder()
        special = {index: token for index, token in added.items() if token.special}
        self.control = {token.content: index for index, token in special.items()}
        self.leading_strip = decoder.strip
        self._control_ids = frozenset(special)
        self._control_pattern = _spellings(special.values())
        self._with_control = _copy(tokenizer)
        tokenizer.encode_special_tokens = True
        self._tokenizer, self._decoder, self.vocab_size, self._where = tokenizer, decoder, vocab_size, where
        self._bytes: dict[int, bytes | None] = {}

    @classmethod
    def load(cls, path: Path | PackedFile, vocab_size: int, control_ids: Iterable[int] = ()) -> HubTokenizer:
        """Loads a bundle's tokenizer.json.

        Args:
            path: The file.
            vocab_size: How many ids the model knows.
            control_ids: Ids that are control tokens whatever the file says: the manifest's BOS, EOS and padding.

        Raises:
            BundleError: The file is missing or damaged, or of a kind that is not supported.
        """
        try:
            data = read_bytes(path, MAX_FILE_BYTES)
        except ValueError:
            raise BundleError(
                f"{path}: expected a tokenizer.json of at most {MAX_FILE_BYTES} bytes, found more"
            ) from None
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); export the model again") from None
        with _refusing(f"{path}: expected a tokenizer.json of the tokenizers library"):
            tokenizer = tokenizers.Tokenizer.from_buffer(data)
            if tokenizer.decoder is None:
                raise ValueError("no decoder")
            decoder = read_decoder(json.loads(tokenizer.decoder.__getstate__()))
            return cls(tokenizer, decoder, vocab_size, control_ids, str(path))

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without BOS; the spelling of a control token in it is text.

        Raises:
            InputError: Not a text, or one of more than `MAX_CHARACTERS`.
            BundleError: The tokenizer's file is damaged in a way that only shows now.
        """
        return self._encode(self._tokenizer, _checked(text))

    def split_language_code(self, text: str) -> tuple[list[int], str]:
        """Nothing, and the text: languages are chosen beside it, not in it."""
        return [], text

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids as the file's own decoder puts it together; control tokens have none."""
        with _refusing(f"{self._where}: expected a decoder that takes any ids"):
            text: str = self._tokenizer.decode([index for index in ids if index < self.vocab_size])
        return text

    def encode_rendered(self, text: str, mark: str) -> list[int]:
        """Returns the ids of a rendered chat template, whose control tokens count.

        Args:
            text: What the template made of messages in which each spelling of a control token was interrupted by
                ``mark``.
            mark: A character that stands nowhere else; it is taken out again.

        Raises:
            InputError: The text has more than `MAX_CHARACTERS`.
        """
        text = _checked(text)
        if mark not in text or self._control_pattern is None:
            return self._encode(self._with_control, text)
        ids: list[int] = []
        end = 0
        for found in self._control_pattern.finditer(text):
            ids += self.encode(text[end : found.start()].replace(mark, ""))
            ids.append(self.control[found[found.lastgroup or 0]])
            end = found.end()
        return ids + self.encode(text[end:].replace(mark, ""))

    def interrupt_control(self, text: str, mark: str) -> str:
        """Returns ``text`` with ``mark`` behind the first character of each spelling of a control token."""
        for spelling in sorted(self.control, key=len, reverse=True):
            text = text.replace(spelling, spelling[:1] + mark + spelling[1:])
        return text

    def token_bytes(self, token_id: int, is_first: bool = False) -> bytes | None:
        """Returns the bytes of a token, UTF-8 unless it is part of a character; None for one that has no text.

        Args:
            token_id: An id; control tokens and ids outside the vocabulary have no text.
            is_first: Whether it begins a text.
        """
        if is_first and self._decoder.drops_at_start:
            token = self._token(token_id)
            return None if token is None else self._decoder.to_bytes(token, is_first=True)
        if token_id not in self._bytes:
            token = self._token(token_id)
            self._bytes[token_id] = None if token is None else self._decoder.to_bytes(token)
        return self._bytes[token_id]

    def _token(self, token_id: int) -> str | None:
        if token_id in self._control_ids or not 0 <= token_id < self.vocab_size:
            return None
        token: str | None = self._tokenizer.id_to_token(token_id)
        return token

    def _encode(self, tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
        with _refusing(f"{self._where}: expected a tokenizer that takes any text"):
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        if ids and max(ids) >= self.vocab_size:
            raise BundleError(
                f"{self._where}: expected ids below the model's {self.vocab_size}, found {max(ids)}; "
                "export the model again"
            )
        return ids


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"expected a text, found {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"expected a text of at most {MAX_CHARACTERS} characters, found {len(text)}; split it")
    return _SURROGATE.sub("\ufffd", text)


def _copy(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A second tokenizer over the same vocabulary, which is held once: `tokenizers` has its switches per object."""
    copy = tokenizers.Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer"):
        if (value := getattr(tokenizer, part)) is not None:
            setattr(copy, part, value)
    for _, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        (copy.add_special_tokens if token.special else copy.add_tokens)([token])
    if copy.get_added_tokens_decoder() != tokenizer.get_added_tokens_decoder():
        # A gap between the vocabulary and its added tokens gives them other ids; the whole file doesn't.
        copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    return copy


def _spellings(tokens: Iterable[tokenizers.AddedToken]) -> re.Pattern[str] | None:
    """What a control token is in a text: the longest that fits, with the white space that it takes along."""
    longest_first = sorted((token for token in tokens if token.content), key=lambda token: -len(token.content))
    space = r"\s*"
    choices = [
        space * token.lstrip + f"(?P<c{index}>{re.escape(token.content)})" + space * token.rstrip
        for index, token in enumerate(longest_first)
    ]
    return re.compile("|".join(choices)) if choices else None


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns what `tokenizers` and the file's JSON may raise, a panic too, into one line that begins with ``what``."""
    try:
        yield
    except (BundleError, InputError):
        raise
    except BaseException as error:
        # A panic of pyo3 is a BaseException whose class can't be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BundleError(f"{what}, found {reason}; export the model again") from None
