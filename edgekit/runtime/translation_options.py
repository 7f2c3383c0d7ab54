"""The options of translation, documented once for all methods of `Translator` that take them."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from edgekit.errors import InputError
from edgekit.runtime.arguments import whole_number
from edgekit.runtime.batching import DEFAULT_BATCH_TOKENS
from edgekit.runtime.beam_scores import BeamSettings
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.documents import SentenceSplitter
from edgekit.runtime.protection import SPANS

EarlyStopping = bool | Literal["never"]


class SearchOptions(TypedDict, total=False):
    """How translations are searched for, and how long.

    Attributes:
        beams: Hypotheses followed at once, up to 64; 1, the default, is greedy search. The first call with more loads
            the decoder of beam search. For several hypotheses the default is the larger of their number and 4.
        length_penalty: Power of the length that a hypothesis's log-probability is divided by, -10 to 10; 1 by default.
        early_stopping: When beam search is done with a sentence, as in transformers: True with ``beams`` hypotheses,
            False, the default, once no beam looks better than them, "never" once none can become better.
        batch_tokens: Padded source tokens that run together, for every two beams; 512, the default, measured fastest in
            bulk for small models, more may be for large ones, and takes more memory.
        max_length: Most target tokens for each piece; None, the default, for a limit relative to the source's length.
        source_language: What a many-language model translates from, by its own codes; None for the bundle's language.
        target_language: What a many-language model translates into, by its own codes; None for the bundle's language.
        timeout: Seconds after which the call ends with a `DeadlineError`; None, the default, for no such limit.
        cancellation: By which another thread may end the call; it then raises a `CancelledError`.
    """

    beams: int
    length_penalty: float
    early_stopping: EarlyStopping
    batch_tokens: int
    max_length: int | None
    source_language: str | None
    target_language: str | None
    timeout: float | None
    cancellation: Cancellation | None


class TranslationOptions(SearchOptions, total=False):
    """Also what is only known of texts.

    Attributes:
        split: True, the default, translates a text sentence by sentence; line breaks, blank lines and indentation stay
            where they are. False translates each text as one, as far as the model takes it: for texts that are
            sentences already. Or a function that cuts a line into sentences, such as another library's.
        protect: True, the default, keeps URLs, e-mail addresses, placeholders (``{name}``, ``%s``), tags and code in
            backticks as they are (`edgekit.runtime.protection`), and looks that numbers come out. Or a pattern of what
            to keep instead. False leaves all to the model. Only of `Translator.translate`.
    """

    split: bool | SentenceSplitter
    protect: bool | re.Pattern[str]


@dataclass(frozen=True)
class Options:
    """`TranslationOptions`, checked; named like them, timeout and cancellation as one."""

    settings: BeamSettings
    batch_tokens: int
    max_length: int | None
    source_language: str | None
    target_language: str | None
    split: bool | SentenceSplitter
    protect: re.Pattern[str] | None
    cancellation: Cancellation

    @classmethod
    def check(
        cls,
        *,
        n: int | None = None,
        beams: Any = None,
        length_penalty: Any = 1.0,
        early_stopping: Any = False,
        batch_tokens: Any = DEFAULT_BATCH_TOKENS,
        max_length: Any = None,
        source_language: Any = None,
        target_language: Any = None,
        split: Any = True,
        protect: Any = True,
        timeout: Any = None,
        cancellation: Any = None,
    ) -> Options:
        """Checks what a caller passes; what is not passed has its default. ``n`` is for `Translator.n_best`.

        Raises:
            InputError: A value is of another type, or outside its range.
        """
        if not isinstance(split, bool) and not callable(split):
            raise InputError(f"split must be True, False or a function from a line to sentences, found {split!r}")
        if not isinstance(protect, bool | re.Pattern):
            raise InputError(f"protect must be True, False or a compiled pattern, found {protect!r}")
        for name, language in (("source_language", source_language), ("target_language", target_language)):
            if language is not None and not isinstance(language, str):
                raise InputError(f"{name} must be a language's code, found {language!r}")
        return cls(
            _settings(n, beams, length_penalty, early_stopping),
            whole_number("batch_tokens", batch_tokens),
            None if max_length is None else whole_number("max_length", max_length),
            source_language,
            target_language,
            split,
            SPANS if protect is True else protect or None,
            Cancellation(timeout, cancellation),
        )


# How many beams look for n hypotheses, unless the caller says.
DEFAULT_BEAMS = 4


def _settings(n: int | None, beams: Any, length_penalty: Any, early_stopping: Any) -> BeamSettings:
    if n is None:
        return BeamSettings.checked(1 if beams is None else beams, length_penalty, early_stopping)
    settings = BeamSettings.checked(max(n, DEFAULT_BEAMS) if beams is None else beams, length_penalty, early_stopping)
    if n > settings.beams:
        raise InputError(f"n must be at most the number of beams, {settings.beams}, found {n}")
    # Of one beam what greedy search does.
    return dataclasses.replace(settings, early_stopping=True) if settings.beams == 1 else settings
