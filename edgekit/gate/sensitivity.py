"""What each quantised tensor costs alone: the divergence of the model's output where all others are float.

KL(fp32 || model with one tensor quantised), mean over the tokens of a few development texts, in nats; an
encoder-decoder is given the fp32 model's own translations, so that all variants predict the same tokens. A tensor is
quantised as it will be in the bundle, with its products' activations. The costs of tensors do not add up exactly, but
their order is what chooses which to keep in more bits.

In: an fp32 bundle, development text, tensors. Out: nats a token. One fp32 pass is recorded; a tensor takes a session
and a pass more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.bundle.read import Bundle
from edgekit.gate.forced import FloatModel, ForcedText, ForcedTexts, ForcedTranslation
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import activation_scale_name
from edgekit.quality.divergence import kl_divergence
from edgekit.quality.parallel_text import TestSet
from edgekit.quality.perplexity import log_softmax
from edgekit.quality.plain_text import EvaluationText
from edgekit.runtime import TextGenerator, Translator

__all__ = ["Probe", "companions", "moved_scales", "quantized_names"]

SENTENCES = 16
TEXT_TOKENS = 192
# What is recorded of the fp32 model, float64 log-probabilities: 128 MB.
MOST_VALUES = 2**24


class Probe:
    """The fp32 model's recorded predictions, and what any replacement of its tensors costs.

    Attributes:
        model: the fp32 model's weights.
        tokens: how many predictions a cost is the mean of.
    """

    def __init__(self, bundle: Bundle, development: TestSet | EvaluationText) -> None:
        """Runs the fp32 model once.

        Args:
            bundle: the fp32 bundle.
            development: pairs for an encoder-decoder, running text for a decoder-only model.
        """
        self.model = FloatModel.read(bundle)
        self.forced: ForcedTranslation | ForcedText
        self.texts: ForcedTexts | Sequence[int]
        if isinstance(development, TestSet):
            self.forced, self.texts = ForcedTranslation(self.model), _translate(bundle, development)
        else:
            self.forced, self.texts = ForcedText(self.model), _read(bundle, development)
        baseline = self.forced.logits(self.texts, {}, "fp32")  # type: ignore[arg-type]
        self._kept = max(1, MOST_VALUES // baseline.shape[1])
        self._baseline = log_softmax(baseline[: self._kept])
        self.tokens = len(self._baseline)

    def cost(self, changes: Mapping[str, Tensor], precision: str) -> float:
        """Mean divergence in nats a token where these tensors replace the float ones."""
        found = self.forced.logits(self.texts, changes, precision)  # type: ignore[arg-type]
        return float(kl_divergence(self._baseline, log_softmax(found[: self._kept])).mean())

    def costs(
        self, weights: Mapping[str, Tensor], precision: str, advance: Callable[[int], None] = lambda _: None
    ) -> dict[str, float]:
        """The cost of each quantised tensor of a bundle's weights alone, by name; ``advance`` counts tensors."""
        found = {}
        for name in quantized_names(weights):
            found[name] = self.cost(companions(weights, name), precision)
            advance(1)
        return found


def quantized_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not float arrays."""
    return [name for name, tensor in weights.items() if not isinstance(tensor, np.ndarray)]


def companions(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """A tensor with what its product needs besides: the calibrated scale of its input."""
    return {key: weights[key] for key in (name, activation_scale_name(name)) if key in weights}


def moved_scales(weights: Mapping[str, Tensor], model: FloatModel) -> list[str]:
    """Float tensors of a quantised bundle that are not the float model's: norms and biases that took an inverse scale.

    SmoothQuant and AWQ move scale from one tensor to another; then none of the two can be exchanged alone.
    """
    return [
        name
        for name, tensor in weights.items()
        if isinstance(tensor, np.ndarray) and name in model.weights and not np.array_equal(tensor, model.weights[name])
    ]


def _translate(bundle: Bundle, pairs: TestSet) -> ForcedTexts:
    return ForcedTexts.translated(Translator(bundle), [pairs.sources[i] for i in _spread(len(pairs), SENTENCES)])


def _read(bundle: Bundle, text: EvaluationText) -> Sequence[int]:
    with TextGenerator.load(bundle.path, prefix_cache_bytes=0) as generator:
        generation: Any = bundle.manifest.generation
        return generator.encode(text.text)[: min(TEXT_TOKENS, generation.context_length)]


def _spread(items: int, count: int) -> npt.NDArray[np.int64]:
    """``count`` places at even distances, or all where there are fewer."""
    count = min(count, items)
    return np.arange(count) * items // count
