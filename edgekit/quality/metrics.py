"""Corpus BLEU and chrF as sacreBLEU computes them, and means of sentence scores, each with its signature.

BLEU: Papineni et al. 2002; chrF: Popović 2015; sacreBLEU: Post 2018, https://aclanthology.org/W18-6319. Nothing of the
two is computed here. In: hypotheses and one or more references each. Out: scores from 0 to 100, and per-sentence
sufficient statistics (n-gram counts and lengths, or a score) from which `edgekit.quality.bootstrap` scores any
resample. A signature makes a score comparable years later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from edgekit.errors import InputError
from edgekit.quality.overlap import exact_match, rouge_l

__all__ = ["ALL_METRICS", "METRIC_NAMES", "SentenceStatistics", "sentence_statistics"]

# Of translations; other tasks may choose from all.
METRIC_NAMES = ("chrf", "bleu")
SENTENCE_SCORES = {"rouge-l": rouge_l, "exact": exact_match}
ALL_METRICS = (*METRIC_NAMES, *SENTENCE_SCORES)

# Words are not separated by spaces there (or are long), so 13a would make one token of a sentence. "char" where
# sacreBLEU's own choice (ja-mecab, ko-mecab) needs a package and a dictionary; the signature names what was used.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}


class SentenceStatistics(ABC):
    """What a metric needs of each sentence of one system's output; sums of rows score any set of sentences.

    Attributes:
        metric: One of `ALL_METRICS`.
        rows: [sentences, statistics]: sacreBLEU's counts for each sentence (int64), or its score and 1 (float64).
        signature: What was counted, and by which version.
    """

    metric: str
    rows: npt.NDArray[Any]
    signature: str

    def score(self) -> float:
        """The corpus score, 0 to 100: of BLEU and chrF equal to sacreBLEU's ``corpus_score`` on the same text."""
        return self.score_sum(self.rows.sum(axis=0))

    @abstractmethod
    def score_sum(self, total: npt.NDArray[Any]) -> float:
        """The score of a set of sentences from their summed statistics, [statistics]."""


class _CorpusStatistics(SentenceStatistics):
    def __init__(
        self, metric: str, scorer: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]]
    ) -> None:
        self.metric = metric
        self._scorer = scorer
        # sacrebleu.significance resamples through these same two methods; there are no public ones.
        self.rows = np.array(scorer._extract_corpus_statistics(hypotheses, references), dtype=np.int64)
        self.signature = str(scorer.get_signature())

    def score_sum(self, total: npt.NDArray[Any]) -> float:
        return float(self._scorer._compute_score_from_stats(total.tolist()).score)


class _MeanStatistics(SentenceStatistics):
    """A score a sentence, of which the best over its references counts; the corpus score is their mean."""

    def __init__(self, metric: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        score = SENTENCE_SCORES[metric]
        best = [
            max(score(hypothesis, reference) for reference in right)
            for hypothesis, right in zip(hypotheses, references, strict=True)
        ]
        self.metric = metric
        self.rows = np.array([[each, 1.0] for each in best])
        counts = {len(right) for right in references}
        self.signature = f"{metric}|nrefs:{counts.pop() if len(counts) == 1 else 'var'}|mean"

    def score_sum(self, total: npt.NDArray[Any]) -> float:
        return float(100 * total[0] / total[1])


def sentence_statistics(
    metric: str,
    hypotheses: Sequence[str],
    references: Sequence[str | tuple[str, ...]],
    target_language: str | None = None,
) -> SentenceStatistics:
    """The statistics of one system's output under one metric.

    Args:
        metric: ``chrf`` (chrF2, no word n-grams), ``bleu`` (mixed case; 13a tokens, or characters for Japanese, Korean
            and Thai, or sacreBLEU's zh), ``rouge-l`` or ``exact`` (`edgekit.quality.overlap`).
        hypotheses: The system's outputs; an empty one counts as such.
        references: For each a text, or several that are all right.
        target_language: ISO 639-1 code or None; chooses BLEU's tokeniser.

    Raises:
        InputError: There are no sentences, the two lists differ in length, or the metric is unknown.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise InputError(
            f"a score needs as many references as hypotheses and at least one; found {len(hypotheses)} hypotheses "
            f"and {len(references)} references"
        )
    if metric not in ALL_METRICS:
        raise InputError(f'unknown metric "{metric}": expected one of {", ".join(ALL_METRICS)}')
    right = [(reference,) if isinstance(reference, str) else reference for reference in references]
    if metric in SENTENCE_SCORES:
        return _MeanStatistics(metric, hypotheses, right)
    # force: text that ends in " ." is scored as it is, without sacreBLEU's warning on stderr.
    tokenizer = BLEU_TOKENIZERS.get(target_language or "", "13a")
    scorer = CHRF() if metric == "chrf" else BLEU(tokenize=tokenizer, force=True)
    return _CorpusStatistics(metric, scorer, hypotheses, list(zip_longest(*right)))
