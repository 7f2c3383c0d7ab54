"""Corpus BLEU and chrF as sacreBLEU computes them, with the signature that makes a score comparable years later.

BLEU: Papineni et al. 2002; chrF: Popović 2015; sacreBLEU: Post 2018, https://aclanthology.org/W18-6319. Nothing of the
metrics is computed here. In: hypotheses and one reference each. Out: scores from 0 to 100, and per-sentence sufficient
statistics (n-gram counts and lengths) from which `edgekit.quality.bootstrap` scores any resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from edgekit.errors import InputError

__all__ = ["METRIC_NAMES", "SentenceStatistics", "sentence_statistics"]

METRIC_NAMES = ("chrf", "bleu")

# Words are not separated by spaces there (or are long), so 13a would make one token of a sentence. "char" where
# sacreBLEU's own choice (ja-mecab, ko-mecab) needs a package and a dictionary; the signature names what was used.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}


class SentenceStatistics:
    """What a metric needs of each sentence of one system's output; sums of rows score any set of sentences.

    Attributes:
        metric: ``chrf`` or ``bleu``.
        rows: int64 [sentences, statistics], sacreBLEU's counts for each sentence.
        signature: sacreBLEU's signature of the score.
    """

    def __init__(self, metric: str, scorer: Any, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        self.metric = metric
        self._scorer = scorer
        # sacrebleu.significance resamples through these same two methods; there are no public ones.
        self.rows: npt.NDArray[np.int64] = np.array(
            scorer._extract_corpus_statistics(hypotheses, [references]), dtype=np.int64
        )
        self.signature = str(scorer.get_signature())

    def score(self) -> float:
        """The corpus score, 0 to 100: equal to sacreBLEU's ``corpus_score`` on the same text."""
        return self.score_sum(self.rows.sum(axis=0))

    def score_sum(self, total: npt.NDArray[np.int64]) -> float:
        """The score of a set of sentences from their summed statistics, int64 [statistics]."""
        return float(self._scorer._compute_score_from_stats(total.tolist()).score)


def sentence_statistics(
    metric: str, hypotheses: Sequence[str], references: Sequence[str], target_language: str | None = None
) -> SentenceStatistics:
    """The statistics of one system's output under one metric.

    Args:
        metric: ``chrf`` (chrF2, no word n-grams) or ``bleu`` (mixed case; 13a tokens, or characters for Japanese,
            Korean and Thai, or sacreBLEU's zh).
        hypotheses: The system's translations; an empty one counts as such.
        references: One reference each.
        target_language: ISO 639-1 code or None; chooses BLEU's tokeniser.

    Raises:
        InputError: There are no sentences, the two lists differ in length, or the metric is unknown.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise InputError(
            f"a score needs as many references as hypotheses and at least one; found {len(hypotheses)} hypotheses "
            f"and {len(references)} references"
        )
    if metric == "chrf":
        return SentenceStatistics(metric, CHRF(), hypotheses, references)
    if metric == "bleu":
        # force: text that ends in " ." is scored as it is, without sacreBLEU's warning on stderr.
        tokenizer = BLEU_TOKENIZERS.get(target_language or "", "13a")
        return SentenceStatistics(metric, BLEU(tokenize=tokenizer, force=True), hypotheses, references)
    raise InputError(f'unknown metric "{metric}": expected one of {", ".join(METRIC_NAMES)}')
