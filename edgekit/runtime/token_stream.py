"""Ids to text, piece by piece: each piece is whole characters, and all of them together are the text.

A character may take several tokens (emoji, most scripts but Latin): its bytes wait until it is whole. Bytes that are
no UTF-8 become U+FFFD as Unicode recommends (3.9, "maximal subparts"); `tokenizers` makes one of each byte instead.
Text that may be the beginning of a stop string waits until it is known whether it is.

In: ids of one text, one after the other. Out: pieces of text; whether a stop string has ended it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from edgekit.runtime.hub_tokenizer import HubTokenizer


class TokenStream:
    """The text of one generated sequence.

    Attributes:
        stopped: a stop string was found: the text ends before it, and further tokens are ignored.
    """

    def __init__(self, tokenizer: HubTokenizer, stop: Sequence[str] = (), *, at_start: bool = False) -> None:
        """Starts with no text.

        Args:
            tokenizer: knows the tokens' bytes.
            stop: texts none of which is empty; the first to be complete ends the text.
            at_start: whether this is a text of its own, which loses the space that the tokenizer puts in front of a
                text, or goes on with another, as a prompt's continuation does.
        """
        self.stopped = False
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_first = at_start
        self._strip = tokenizer.leading_strip if at_start else None
        self._held = ""  # may be the beginning of a stop string

    def push(self, token_id: int) -> str:
        """The text that ``token_id`` completes, often none."""
        if self.stopped or (found := self._tokenizer.token_bytes(token_id, self._is_first)) is None:
            return ""
        self._is_first = False
        return self._release(self._utf8.decode(found), at_end=False)

    def finish(self) -> str:
        """What is still held back, at the end of the text; an incomplete character becomes U+FFFD."""
        return "" if self.stopped else self._release(self._utf8.decode(b"", final=True), at_end=True)

    def _release(self, text: str, *, at_end: bool) -> str:
        text = self._held + self._without_prefix(text)
        ends = [(place + len(stop), place) for stop in self._stop if (place := text.find(stop)) >= 0]
        if ends:
            # The first to be complete, so that it doesn't matter how the text is cut into tokens.
            self.stopped, self._held = True, ""
            return text[: min(ends)[1]]
        held = 0 if at_end else max((_beginning(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _without_prefix(self, text: str) -> str:
        while self._strip and text:
            character, count = self._strip
            if text[0] != character:
                self._strip = None
            else:
                text, self._strip = text[1:], (character, count - 1) if count > 1 else None
        return text


def decode(tokenizer: HubTokenizer, ids: Iterable[int]) -> str:
    """The text of a whole sequence; control tokens have none."""
    stream = TokenStream(tokenizer, at_start=True)
    return "".join([*map(stream.push, ids), stream.finish()])


def _beginning(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``stop``, which it does not hold."""
    place = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while place >= 0 and not stop.startswith(text[place:]):
        place = text.find(stop[0], place + 1)
    return len(text) - place if place >= 0 else 0
