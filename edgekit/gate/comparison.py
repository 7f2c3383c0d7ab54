"""What a bundle loses against fp32 on development text that is run bit by bit: `TranslationLoss` and `TextLoss`.

The text is put into an order of chance first (a fixed one), so that any beginning of it is a sample of the whole: the
gate looks at a beginning and goes on only while that decides nothing. What the fp32 bundle gave is kept and serves any
number of quantised ones (`Baseline`); memory is that of the outputs, of log-probabilities only one batch's.

In: an fp32 bundle, a quantised one of the same model, development text. Out: the loss by metric, on all text that was
run and in resamples of it. Translations are scored by sacreBLEU, running text in windows; the divergence of an
encoder-decoder is taken along the fp32 bundle's own translations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekit.bench.text_models import LoadedModel, load_models
from edgekit.bench.text_speed import TextBenchSettings
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError
from edgekit.gate.forced import FloatModel, ForcedTexts, ForcedTranslation, changes_of, weights_of
from edgekit.quality.bootstrap import BOOTSTRAP_SEED, resample_counts, resampled_losses
from edgekit.quality.divergence import kl_divergence
from edgekit.quality.metrics import SentenceStatistics, sentence_statistics
from edgekit.quality.parallel_text import TestSet
from edgekit.quality.perplexity import Window, log_softmax, plan_windows, token_losses
from edgekit.quality.plain_text import EvaluationText
from edgekit.runtime import Translator

__all__ = ["Comparison", "Samples", "TextBaseline", "TextLoss", "TranslationBaseline", "TranslationLoss"]

ORDER_SEED = 2026
# Sentences whose logits are in memory at once.
FORCED_BATCH = 8
# Float64 log-probabilities at a time: 16 MB.
VALUES_AT_A_TIME = 2**21

Floats = npt.NDArray[np.float64]


class Samples(Protocol):
    """A loss by metric."""

    def loss(self, metric: str) -> float:
        """On all text that was run."""

    def resampled(self, metric: str, resamples: int) -> Floats:
        """In resamples of it, float64 [resamples]."""


class Comparison(Samples, Protocol):
    """A quantised bundle beside its fp32 one, on text that is run bit by bit."""

    unit: str
    items: int
    steps_per_item: int

    def run(self, count: int, advance: Callable[[int], None]) -> None:
        """Runs what of the first ``count`` items was not run yet; ``advance`` counts the steps."""

    def close(self) -> None:
        """Frees what is loaded."""


def ratio_resamples(sums: Floats, counts: Floats, resamples: int) -> Floats:
    """``sum(sums) / sum(counts)`` in each resample of the items, float64 [resamples]."""
    draws = resample_counts(len(sums), resamples, BOOTSTRAP_SEED)
    return np.concatenate([(drawn @ sums) / (drawn @ counts) for drawn in draws])


class TranslationBaseline:
    """The fp32 bundle's translations of a development set, as far as they were asked for."""

    def __init__(self, bundle: Path, pairs: TestSet) -> None:
        """Loads the fp32 bundle."""
        self.bundle, self.pairs = open_bundle(bundle), pairs
        self.order = np.random.default_rng(ORDER_SEED).permutation(len(pairs))
        self.translator = Translator(self.bundle)
        self._done: list[str] = []
        self._forced: ForcedTranslation | None = None

    def sources(self, first: int, end: int) -> list[str]:
        """Texts of these places of the order."""
        return [self.pairs.sources[index] for index in self.order[first:end]]

    def references(self, end: int) -> list[str]:
        """References of the first places of the order."""
        return [self.pairs.references[index] for index in self.order[:end]]

    def translations(self, end: int) -> list[str]:
        """Translations of the first places of the order."""
        if len(self._done) < end:
            self._done += self.translator.translate(self.sources(len(self._done), end))
        return self._done[:end]

    def forced(self) -> ForcedTranslation:
        """The fp32 model, to be given its target."""
        if self._forced is None:
            self._forced = ForcedTranslation(FloatModel.read(self.bundle))
        return self._forced

    def close(self) -> None:
        """Nothing to free: as `TextBaseline` has it."""

    def forced_texts(self, first: int, end: int) -> ForcedTexts:
        """What the fp32 bundle makes of these places' texts, as ids."""
        return ForcedTexts.translated(self.translator, self.sources(first, end))


class TranslationLoss:
    """The loss of one quantised bundle in chrF, BLEU and divergence."""

    unit = "sentences"

    def __init__(self, baseline: TranslationBaseline, bundle: Path, metrics: Sequence[str]) -> None:
        """Loads the quantised bundle; ``metrics`` are those that will be asked for."""
        self._baseline, self._bundle = baseline, open_bundle(bundle)
        self._translator = Translator(self._bundle)
        self._language = self._bundle.manifest.languages.target
        self._scored = [metric for metric in metrics if metric != "kl"]
        self._diverges = "kl" in metrics
        self._translations: list[str] = []
        self._nats: list[float] = []
        self._tokens: list[int] = []
        self.items = len(baseline.pairs)
        self.steps_per_item = 1

    def run(self, count: int, advance: Callable[[int], None]) -> None:
        """See `Comparison`."""
        baseline = self._baseline
        for start in range(len(self._translations), count, 64):
            end = min(start + 64, count)
            if self._scored:
                baseline.translations(end)
                self._translations += self._translator.translate(baseline.sources(start, end))
            else:
                self._translations += [""] * (end - start)
            if self._diverges:
                for first in range(start, end, FORCED_BATCH):
                    self._diverge(baseline.forced_texts(first, min(first + FORCED_BATCH, end)))
            advance(end - start)

    def _diverge(self, texts: ForcedTexts) -> None:
        forced = self._baseline.forced()
        changes = changes_of(weights_of(self._bundle), forced.model)
        precision = self._bundle.manifest.precision
        nats = divergence(forced.logits(texts, {}, "fp32"), forced.logits(texts, changes, precision))
        ends = np.cumsum(texts.tokens)
        self._nats += [float(part.sum()) for part in np.split(nats, ends[:-1])]
        self._tokens += texts.tokens.tolist()

    def loss(self, metric: str) -> float:
        """See `Samples`."""
        if metric == "kl":
            return float(np.sum(self._nats) / np.sum(self._tokens))
        fp32, quantized = self._statistics(metric)
        return fp32.score() - quantized.score()

    def resampled(self, metric: str, resamples: int) -> Floats:
        """See `Samples`."""
        if metric == "kl":
            return ratio_resamples(np.array(self._nats), np.array(self._tokens, np.float64), resamples)
        fp32, quantized = self._statistics(metric)
        return resampled_losses(fp32, quantized, resamples, BOOTSTRAP_SEED)

    def _statistics(self, metric: str) -> list[SentenceStatistics]:
        """Of the fp32 bundle's output and of the quantised one's."""
        count = len(self._translations)
        references = self._baseline.references(count)
        outputs = (self._baseline.translations(count), self._translations)
        return [sentence_statistics(metric, found, references, self._language) for found in outputs]

    def close(self) -> None:
        """See `Comparison`."""


def divergence(baseline: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Floats:
    """KL(baseline || found) of each row of logits, in nats: float64 [rows]."""
    step = max(1, VALUES_AT_A_TIME // baseline.shape[1])
    parts = [
        kl_divergence(log_softmax(baseline[row : row + step]), log_softmax(found[row : row + step]))
        for row in range(0, len(baseline), step)
    ]
    return np.concatenate(parts)


class TextBaseline:
    """The fp32 bundle of a decoder-only model, the windows of a development text, and what it made of them."""

    def __init__(self, bundle: Path, text: EvaluationText) -> None:
        """Loads the fp32 bundle.

        Raises:
            InputError: the text is too short.
        """
        self._stack = ExitStack()
        self.model = self._stack.enter_context(load_models([bundle], 1))[0]
        self.text, self.ids = text, self.model.encode(text.text)
        generation = open_bundle(bundle).manifest.generation
        context, stride = TextBenchSettings().window(generation.context_length)  # type: ignore[union-attr]
        windows = plan_windows(len(self.ids), context, stride, self.model.bos_token_id is not None)
        self.windows = [windows[i] for i in np.random.default_rng(ORDER_SEED).permutation(len(windows))]
        self._losses: dict[int, float] = {}

    def logits(self, model: LoadedModel, window: Window) -> npt.NDArray[np.float32]:
        """A model's logits of the window's counted tokens, ``float32 [tokens, vocabulary]``."""
        bos = self.model.bos_token_id
        fed = [*([] if bos is None else [bos]), *self.ids[window.start : window.end]]
        return model.logits(fed, window.rows.start)[: window.end - window.first]

    def nats(self, logits: npt.NDArray[np.float32], window: Window) -> float:
        """The summed loss of the window's counted tokens."""
        targets = self.ids[window.first : window.end]
        step = max(1, VALUES_AT_A_TIME // logits.shape[1])
        return sum(
            float(token_losses(log_softmax(logits[row : row + step]), targets[row : row + step]).sum())
            for row in range(0, len(targets), step)
        )

    def known_nats(self, index: int) -> float:
        """The fp32 model's loss in one window, calculated once."""
        if index not in self._losses:
            window = self.windows[index]
            self._losses[index] = self.nats(self.logits(self.model, window), window)
        return self._losses[index]

    def close(self) -> None:
        """Frees the fp32 model."""
        self._stack.close()


class TextLoss:
    """The loss of one quantised decoder-only bundle in perplexity and divergence."""

    unit = "windows"

    def __init__(self, baseline: TextBaseline, bundle: Path, metrics: Sequence[str]) -> None:
        """Loads the quantised bundle; ``metrics`` are those that will be asked for.

        Raises:
            InputError: its tokenizer is another.
        """
        self._baseline, self._stack = baseline, ExitStack()
        self._model = self._stack.enter_context(load_models([bundle], 1))[0]
        if self._model.encode(baseline.text.text) != baseline.ids:
            raise InputError(f"{bundle}: its token ids of the text are not the fp32 bundle's; export both again")
        self._diverges = "kl" in metrics
        self._nats: list[float] = []
        self._kl: list[float] = []
        self.items = len(baseline.windows)
        self.steps_per_item = 1

    def run(self, count: int, advance: Callable[[int], None]) -> None:
        """See `Comparison`."""
        baseline = self._baseline
        for index in range(len(self._nats), count):
            window = baseline.windows[index]
            found = baseline.logits(self._model, window)
            self._nats.append(baseline.nats(found, window))
            if self._diverges:
                self._kl.append(float(divergence(baseline.logits(baseline.model, window), found).sum()))
            else:
                baseline.known_nats(index)
            advance(1)

    def loss(self, metric: str) -> float:
        """See `Samples`."""
        if metric == "kl":
            return float(np.sum(self._kl) / self._tokens().sum())
        more = np.sum(self._nats) - np.sum(self._known())
        return 100 * float(np.expm1(more / self._tokens().sum()))

    def resampled(self, metric: str, resamples: int) -> Floats:
        """See `Samples`."""
        if metric == "kl":
            return ratio_resamples(np.array(self._kl), self._tokens(), resamples)
        more = np.array(self._nats) - self._known()
        return 100 * np.expm1(ratio_resamples(more, self._tokens(), resamples))

    def _tokens(self) -> Floats:
        windows = self._baseline.windows[: len(self._nats)]
        return np.array([window.end - window.first for window in windows], np.float64)

    def _known(self) -> Floats:
        return np.array([self._baseline.known_nats(index) for index in range(len(self._nats))])

    def close(self) -> None:
        """See `Comparison`."""
        self._stack.close()
