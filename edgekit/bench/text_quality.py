"""Scores language models on a text: losses of each, and divergence of each from the first, in one pass.

All models read the same windows, and only the logits of one window are held of the baseline and of one other at a time,
of which some rows at a time become float64: memory doesn't grow with the text, and a vocabulary of 49,152 takes 0.2 GB
of logits in a window of 512. The models run in this process, since what is compared are whole distributions; time and
memory are measured elsewhere (`edgekit.bench.text_speed`).

In: loaded models of one tokenizer, and a text. Out: `TextQuality`s. Refused: models whose ids of the text differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.quality.divergence import Divergence, kl_divergence, same_top, summarize_divergence
from edgekit.quality.perplexity import TextLosses, Window, log_softmax, plan_windows, token_losses
from edgekit.quality.plain_text import EvaluationText

__all__ = ["LanguageModel", "TextQuality", "score_text"]

# Float64 log-probabilities that are held of a model at a time: 16 MB.
VALUES_AT_A_TIME = 2**21


class LanguageModel(Protocol):
    """What is needed of a model; `edgekit.runtime.TextGenerator` has it, behind `edgekit.bench.text_models`."""

    bos_token_id: int | None

    def encode(self, text: str) -> list[int]:
        """The text's ids, without ``bos_token_id``."""

    def logits(self, token_ids: Sequence[int], first: int) -> npt.NDArray[np.float32]:
        """Logits of what follows each id from ``first`` on: ``[len(token_ids) - first, vocabulary]``."""


@dataclass(frozen=True)
class TextQuality:
    """What one model makes of a text.

    Attributes:
        losses: Losses by window.
        divergence: From the first model's distributions; None for the first itself, and where it is no baseline.
    """

    losses: TextLosses
    divergence: Divergence | None


class _Tally:
    """Sums of one model, window by window."""

    def __init__(self) -> None:
        self.nats: list[float] = []
        self.tokens: list[int] = []
        self.kl: list[npt.NDArray[np.float64]] = []
        self.same: list[npt.NDArray[np.bool_]] = []

    def quality(self, text: EvaluationText) -> TextQuality:
        losses = TextLosses(np.array(self.nats), np.array(self.tokens, np.int64), text.size_bytes, text.words)
        divergence = summarize_divergence(np.concatenate(self.kl), np.concatenate(self.same)) if self.kl else None
        return TextQuality(losses, divergence)


def score_text(
    models: Sequence[LanguageModel],
    text: EvaluationText,
    context: int,
    stride: int,
    has_baseline: bool,
    advance: Callable[[int], None] = lambda _: None,
) -> list[TextQuality]:
    """Every model's losses on a text, and its divergence from the first where that is the baseline.

    Args:
        models: At least one, of one tokenizer.
        text: What is scored.
        context: Most tokens of a window, BOS included.
        stride: Tokens counted in a window; see `edgekit.quality.perplexity`.
        has_baseline: Whether the first model is what the others are compared with.
        advance: Called with a number of words each time that so many have been scored by one model.

    Raises:
        InputError: The models' ids differ, the text is too short, or logits are not finite.
    """
    ids, bos = models[0].encode(text.text), models[0].bos_token_id
    if any((model.encode(text.text), model.bos_token_id) != (ids, bos) for model in models[1:]):
        raise InputError(f"{text.name}: the models have different token ids for this text; measure them one by one")
    tallies = [_Tally() for _ in models]
    for window in plan_windows(len(ids), context, stride, bos is not None):
        _score_window(models, tallies, window, ids, bos, has_baseline, _words(text, ids, window), advance)
    return [tally.quality(text) for tally in tallies]


def _score_window(
    models: Sequence[LanguageModel],
    tallies: Sequence[_Tally],
    window: Window,
    ids: Sequence[int],
    bos: int | None,
    has_baseline: bool,
    words: int,
    advance: Callable[[int], None],
) -> None:
    fed = [*([] if bos is None else [bos]), *ids[window.start : window.end]]
    targets = ids[window.first : window.end]
    first = window.rows.start
    baseline: npt.NDArray[np.float32] | None = None
    for model, tally in zip(models, tallies, strict=True):
        logits = model.logits(fed, first)[: len(targets)]
        rows = max(1, VALUES_AT_A_TIME // logits.shape[1])
        nats = 0.0
        for start in range(0, len(targets), rows):
            chosen = slice(start, start + rows)
            log_probabilities = log_softmax(logits[chosen])
            nats += float(token_losses(log_probabilities, targets[chosen]).sum())
            if baseline is not None:
                compared = log_softmax(baseline[chosen])
                tally.kl.append(kl_divergence(compared, log_probabilities))
                tally.same.append(same_top(compared, log_probabilities))
        tally.nats.append(nats)
        tally.tokens.append(len(targets))
        if has_baseline and baseline is None:
            baseline = logits
        advance(words)


def _words(text: EvaluationText, ids: Sequence[int], window: Window) -> int:
    """The window's share of the text's words; all windows' shares together are all of them."""
    begin = 0 if window.first <= 1 else window.first
    return text.words * window.end // len(ids) - text.words * begin // len(ids)
