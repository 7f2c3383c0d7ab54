"""The options of text generation, documented once for all methods of `TextGenerator` that take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from edgekit.runtime import generation_arguments as arguments
from edgekit.runtime.arguments import whole_number
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.sampling import Sampling

DEFAULT_NEW_TOKENS = 256


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen and when a text ends; formulas are in `edgekit.runtime.sampling`.

    Attributes:
        max_new_tokens: Most tokens to generate, 256 by default; the context's end ends a text too.
        temperature: 0, the default, always takes the most likely token; 1 draws from the model's probabilities.
        top_k: Only so many of the most likely tokens count.
        top_p: Only the most likely tokens that together have this probability count; above 0, up to 1.
        min_p: Only tokens at least this times as probable as the likeliest count; 0 to 1.
        repetition_penalty: Above 1, tokens of the prompt and of the text become less likely.
        seed: The same seed gives the same text, alone or in a list; without one each text is drawn anew.
        ignore_eos: Whether a text goes on behind EOS until its limit, so that its length is known: for measuring.
        prompt_lookup: Whether what a single greedy text repeats of its prompt or of itself is drafted, and verified
            several tokens at once: faster for summaries, corrections and code. Drafts choose no token, but all of such
            a text is rounded otherwise than without: where two tokens are nearly as likely, it may take the other. One
            that repeats nothing is some 4 % slower at 128 tokens, 13 % at 400.
        timeout: Seconds after which the call ends with a `DeadlineError`; None, the default, for no such limit. Of a
            stream, from the call to its end.
        cancellation: By which another thread may end the call; it then raises a `CancelledError`.
    """

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    seed: int | None
    ignore_eos: bool
    prompt_lookup: bool
    timeout: float | None
    cancellation: Cancellation | None


class GenerationOptions(SamplingOptions, total=False):
    """Also what is only known of texts.

    Attributes:
        stop: A text or texts that end the generated text, which does not hold them.
    """

    stop: str | Sequence[str]


@dataclass(frozen=True)
class Options:
    """`GenerationOptions`, checked; named like them, timeout and cancellation as one."""

    max_new_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    ignore_eos: bool
    prompt_lookup: bool
    cancellation: Cancellation

    @classmethod
    def check(
        cls,
        *,
        max_new_tokens: Any = DEFAULT_NEW_TOKENS,
        stop: Any = (),
        ignore_eos: Any = False,
        prompt_lookup: Any = False,
        timeout: Any = None,
        cancellation: Any = None,
        **sampling: Any,
    ) -> Options:
        """Checks what a caller passes; what is not passed has its default.

        Raises:
            InputError: a value is of another type, or outside its range.
        """
        return cls(
            whole_number("max_new_tokens", max_new_tokens),
            arguments.sampling(**sampling),
            arguments.stop_strings(stop),
            arguments.flag("ignore_eos", ignore_eos),
            arguments.flag("prompt_lookup", prompt_lookup),
            Cancellation(timeout, cancellation),
        )
