"""How far a quantised model's predictions are from those of the model it was made from, token by token.

The Kullback-Leibler divergence of the quantised distribution from the baseline's, ``sum p * (log p - log q)`` over the
vocabulary with p the baseline's, and how often both give the highest probability to the same token: the "KLD" and "Same
top p" of llama.cpp's perplexity tool (https://github.com/ggml-org/llama.cpp/tree/master/tools/perplexity), which leaves
tokens with log p below -16 out of the sum; here all are in it. Unlike perplexity, the divergence has no noise from the
text: it is 0 where nothing has changed, and cannot fall where a worse model happens to guess better.

In: log-probabilities of both models at the same positions. Out: a figure a position, and their summary; no model runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError

__all__ = ["Divergence", "kl_divergence", "same_top", "summarize_divergence"]


@dataclass(frozen=True)
class Divergence:
    """A summary over all counted positions; divergences in nats.

    Attributes:
        mean_kl: Mean divergence.
        p99_kl: Its 99th percentile, linearly interpolated.
        max_kl: Its largest.
        top1_agreement: Share of positions, 0 to 1, where both models' most probable token is the same.
    """

    mean_kl: float
    p99_kl: float
    max_kl: float
    top1_agreement: float


def kl_divergence(
    baseline: npt.NDArray[np.float64], log_probabilities: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """KL(baseline || other) at each position, in nats: float64 ``[rows]``, 0 or more.

    Args:
        baseline: Log-probabilities of the model compared with, ``[rows, vocabulary]``.
        log_probabilities: Those of the quantised model at the same positions.
    """
    divergence = (np.exp(baseline) * (baseline - log_probabilities)).sum(axis=-1)
    # Rounding leaves equal distributions a few 1e-17 below 0.
    return np.maximum(divergence, 0.0)


def same_top(baseline: npt.NDArray[np.float64], log_probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether both give the highest probability to the same token (the first of equals): bool ``[rows]``."""
    return baseline.argmax(axis=-1) == log_probabilities.argmax(axis=-1)


def summarize_divergence(kl: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> Divergence:
    """The summary of both figures over all positions, ``[tokens]`` each.

    Raises:
        InputError: There is no position, or the logits were not finite.
    """
    if not len(kl):
        raise InputError("a divergence needs at least 1 token, found none")
    if not np.isfinite(kl).all():
        raise InputError(f"the divergence at {int((~np.isfinite(kl)).sum())} of {len(kl)} tokens is not finite")
    return Divergence(float(kl.mean()), float(np.percentile(kl, 99)), float(kl.max()), float(same.mean()))
