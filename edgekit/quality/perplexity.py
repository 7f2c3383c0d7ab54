"""Perplexity of a text: windows over its tokens, losses from logits, and intervals by bootstrap over the windows.

A text longer than a model's context is cut into blocks of ``stride`` tokens. Each is predicted in one window of at most
``context`` tokens that ends with it; what precedes the block in the window is context and not counted again. So every
token is counted once, with ``context - stride`` tokens or more before it except at the text's beginning. (Windows that
overlap: https://huggingface.co/docs/transformers/perplexity; llama.cpp's perplexity tool counts the second half of
windows that do not.) Perplexity is exp of the mean loss in nats a token: it depends on the tokenizer, so the loss by
byte and by word is given too, which compares models with different vocabularies on the same text.

In: token ids and logits as arrays; no model is run here. Out: figures with 95 % intervals, which say how far a figure
depends on which passages the text holds. Refused: a text of fewer than two tokens, logits that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.quality.bootstrap import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED, resample_counts

__all__ = [
    "Perplexity",
    "PerplexityLoss",
    "TextLosses",
    "Window",
    "log_softmax",
    "perplexity",
    "perplexity_loss",
    "plan_windows",
    "token_losses",
]

# exp of more is no float64.
LARGEST_EXPONENT = 700


@dataclass(frozen=True)
class Window:
    """Tokens that are run together; positions are those of the text's ids.

    Attributes:
        start: The first token of the window.
        first: The first that is counted.
        end: One past the last, which is the last counted.
        follows_bos: Whether a token that begins every text is put before ``start``.
    """

    start: int
    first: int
    end: int
    follows_bos: bool

    @property
    def rows(self) -> slice:
        """Rows of the window's logits, ``[tokens, vocabulary]``, that predict the counted tokens."""
        skipped = self.first - self.start - 1 + self.follows_bos
        return slice(skipped, skipped + self.end - self.first)


def plan_windows(tokens: int, context: int, stride: int, follows_bos: bool) -> list[Window]:
    """Windows that count each token of a text once (the first only where a token precedes it).

    Args:
        tokens: Tokens of the text, without any that the tokenizer adds.
        context: Most tokens of a window, that of ``follows_bos`` included; at least 2.
        stride: Tokens counted in a window; at least 1 and less than ``context``.
        follows_bos: Whether each window begins with the token that begins every text.

    Example: 7 tokens, context 4, stride 2 give (start, first, end) (0, 1, 2), (0, 2, 4), (2, 4, 6), (3, 6, 7).

    Raises:
        InputError: A length is out of range, or there is no token to count.
    """
    if not 1 <= stride < context:
        raise InputError(f"a stride must be at least 1 and below the context of {context} tokens, found {stride}")
    if tokens + follows_bos < 2:
        raise InputError(f"perplexity needs a text of at least 2 tokens, found {tokens}; use a longer one")
    windows = []
    for begin in range(0, tokens, stride):
        end = min(begin + stride, tokens)
        start = max(0, end - context + follows_bos)
        first = begin if follows_bos or begin else 1
        if first < end:
            windows.append(Window(start, first, end, follows_bos))
    return windows


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Natural logarithms of the probabilities, float64 ``[rows, vocabulary]`` as the logits."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def token_losses(log_probabilities: npt.NDArray[np.float64], targets: Sequence[int]) -> npt.NDArray[np.float64]:
    """What each target costs in nats, ``-log p``: float64 ``[rows]``.

    Args:
        log_probabilities: From `log_softmax`, ``[rows, vocabulary]``.
        targets: The token that came, one a row.

    Raises:
        InputError: A loss is not finite, since the logits were not.
    """
    losses = -log_probabilities[np.arange(len(targets)), targets]
    if not np.isfinite(losses).all():
        raise InputError(
            f"the logits of {int((~np.isfinite(losses)).sum())} of {len(losses)} tokens are not finite; "
            "export the model again"
        )
    return losses


@dataclass(frozen=True)
class TextLosses:
    """What a model loses on a text.

    Attributes:
        nats: float64 [windows], the sum of the losses of each window's counted tokens.
        tokens: int64 [windows], how many these are.
        text_bytes: Length of the text in UTF-8.
        text_words: Its words, by white space.
    """

    nats: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    text_bytes: int
    text_words: int


@dataclass(frozen=True)
class Perplexity:
    """A text's perplexity under one model.

    Attributes:
        tokens: How many tokens were counted.
        nats_per_token: Their mean loss; its exp is ``perplexity``.
        perplexity: exp of the mean loss a token.
        ci95: The 2.5th and 97.5th percentile of the perplexity over resampled windows.
        bits_per_byte: The whole loss, in bits, by the text's bytes in UTF-8.
        word_perplexity: exp of the whole loss by the text's words; None beyond a float.
    """

    tokens: int
    nats_per_token: float
    perplexity: float
    ci95: tuple[float, float]
    bits_per_byte: float
    word_perplexity: float | None


@dataclass(frozen=True)
class PerplexityLoss:
    """How much higher a model's perplexity is than a baseline's, in per cent; negative where it is lower.

    Attributes:
        percent: ``100 * (perplexity / baseline's perplexity - 1)``.
        ci95: The same over resamples, each of which draws the same windows for both.
    """

    percent: float
    ci95: tuple[float, float]


def perplexity(losses: TextLosses, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = BOOTSTRAP_SEED) -> Perplexity:
    """The perplexity of a text, with its interval by bootstrap over windows.

    Raises:
        InputError: It is beyond a float.
    """
    total, tokens = float(losses.nats.sum()), int(losses.tokens.sum())
    if total / tokens > LARGEST_EXPONENT:
        raise InputError(f"the model loses {total / tokens:.0f} nats a token, more than any does; export it again")
    means = _resampled_means(losses, resamples, seed)
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    return Perplexity(
        tokens,
        total / tokens,
        math.exp(total / tokens),
        (float(low), float(high)),
        total / math.log(2) / losses.text_bytes,
        math.exp(total / losses.text_words) if total / losses.text_words < LARGEST_EXPONENT else None,
    )


def perplexity_loss(
    baseline: TextLosses, losses: TextLosses, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> PerplexityLoss:
    """The loss of ``losses``' model against the baseline's, by paired bootstrap over the same windows.

    Raises:
        InputError: The two were not counted over the same windows.
    """
    if not np.array_equal(baseline.tokens, losses.tokens):
        raise InputError(
            f"a perplexity loss needs the same windows twice; found {int(baseline.tokens.sum())} tokens in "
            f"{len(baseline.tokens)} windows and {int(losses.tokens.sum())} in {len(losses.tokens)}"
        )
    difference = float((losses.nats - baseline.nats).sum() / losses.tokens.sum())
    means = _resampled_means(losses, resamples, seed) - _resampled_means(baseline, resamples, seed)
    low, high = 100 * np.expm1(np.percentile(means, [2.5, 97.5]))
    return PerplexityLoss(100 * math.expm1(difference), (float(low), float(high)))


def _resampled_means(losses: TextLosses, resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Mean loss in nats a token in each resample of the windows, float64 [resamples]."""
    draws = resample_counts(len(losses.nats), resamples, seed)
    return np.concatenate([(counts @ losses.nats) / (counts @ losses.tokens) for counts in draws])
