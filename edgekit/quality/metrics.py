"""Corpus BLEU and chrF as sacreBLEU computes them, GLEU, and means of sentence scores, each with its signature.

BLEU: Papineni et al. 2002; chrF: Popović 2015; sacreBLEU: Post 2018, https://aclanthology.org/W18-6319. Nothing of the
two is computed here. In: hypotheses and one or more references each, for GLEU their sources too. Out: scores from 0 to
100, and per-sentence sufficient statistics (n-gram counts and lengths, or a score) from which
`edgekit.quality.bootstrap` scores any resample. A signature makes a score comparable years later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError, MissingExtraError
from edgekit.quality.gleu import COUNTS, gleu_counts, gleu_score
from edgekit.quality.overlap import exact_match, rouge_l

try:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.version import __version__ as sacrebleu_version
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f'scores need {(error.name or "").partition(".")[0]}; pip install "edgekit[bench]" brings it'
    ) from None

__all__ = ["ALL_METRICS", "METRIC_NAMES", "SentenceStatistics", "sentence_statistics"]

# Of translations; other tasks may choose from all.
METRIC_NAMES = ("chrf", "bleu")
SENTENCE_SCORES = {"rouge-l": rouge_l, "exact": exact_match}
# Of corrections, which are compared with their source too.
GLEU = "gleu"
ALL_METRICS = (*METRIC_NAMES, *SENTENCE_SCORES, GLEU)

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
        self.signature = f"{metric}|nrefs:{_reference_count(references)}|mean"

    def score_sum(self, total: npt.NDArray[Any]) -> float:
        return float(100 * total[0] / total[1])


class _GleuStatistics(SentenceStatistics):
    """GLEU against the first references, against the second ones and so on; the score is the mean.

    Every reference counts equally often, where the authors draw one a sentence 500 times. A sentence that has fewer
    than others uses them again.
    """

    def __init__(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        words = Tokenizer13a()  # type: ignore[no-untyped-call]
        most = max(len(right) for right in references)
        rows = []
        for source, hypothesis, right in zip(sources, hypotheses, references, strict=True):
            read, written = words(source).split(), words(hypothesis).split()
            counts = [gleu_counts(read, written, words(reference).split()) for reference in right]
            rows.append([count for index in range(most) for count in counts[index % len(counts)]])
        self.metric = GLEU
        self.rows = np.array(rows, dtype=np.int64)
        number = _reference_count(references)
        self.signature = f"gleu|order:4|nrefs:{number}|case:mixed|tok:13a|version:{sacrebleu_version}"

    def score_sum(self, total: npt.NDArray[Any]) -> float:
        return float(100 * np.mean([gleu_score(counts) for counts in total.reshape(-1, COUNTS).tolist()]))


def _reference_count(references: Sequence[Sequence[str]]) -> int | str:
    counts = {len(right) for right in references}
    return counts.pop() if len(counts) == 1 else "var"


def sentence_statistics(
    metric: str,
    hypotheses: Sequence[str],
    references: Sequence[str | tuple[str, ...]],
    target_language: str | None = None,
    sources: Sequence[str] | None = None,
) -> SentenceStatistics:
    """The statistics of one system's output under one metric.

    Args:
        metric: ``chrf`` (chrF2, no word n-grams), ``bleu`` (mixed case; 13a tokens, or characters for Japanese, Korean
            and Thai, or sacreBLEU's zh), ``rouge-l`` or ``exact`` (`edgekit.quality.overlap`), or ``gleu``
            (`edgekit.quality.gleu`; mixed case, 13a tokens).
        hypotheses: The system's outputs; an empty one counts as such.
        references: For each a text, or several that are all right.
        target_language: ISO 639-1 code or None; chooses BLEU's tokeniser.
        sources: What the outputs were made from; only ``gleu`` looks at them.

    Raises:
        InputError: There are no sentences, the lists differ in length, or the metric is unknown.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise InputError(
            f"a score needs as many references as hypotheses and at least one; found {len(hypotheses)} hypotheses "
            f"and {len(references)} references"
        )
    if metric not in ALL_METRICS:
        raise InputError(f'unknown metric "{metric}": expected one of {", ".join(ALL_METRICS)}')
    right = [(reference,) if isinstance(reference, str) else reference for reference in references]
    if metric == GLEU:
        if sources is None or len(sources) != len(hypotheses):
            found = "none" if sources is None else len(sources)
            raise InputError(
                f"gleu compares each output with its source: expected {len(hypotheses)} sources, found {found}"
            )
        return _GleuStatistics(sources, hypotheses, right)
    if metric in SENTENCE_SCORES:
        return _MeanStatistics(metric, hypotheses, right)
    # force: text that ends in " ." is scored as it is, without sacreBLEU's warning on stderr.
    tokenizer = BLEU_TOKENIZERS.get(target_language or "", "13a")
    scorer = CHRF() if metric == "chrf" else BLEU(tokenize=tokenizer, force=True)
    return _CorpusStatistics(metric, scorer, hypotheses, list(zip_longest(*right)))
