"""Quality of a model's bundles against its fp32 one, kept as it comes: nothing is calculated twice.

Deterministic, so it may run on a busy machine. Translators, and language models that translate what they are sent as a
chat, are scored on the beginning of each packaged test set, other language models on the beginning of the packaged test
text. In: bundles by scheme. Out: by scheme, points, and losses with their 95 % intervals (paired bootstrap).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from table_bundles import FLOAT, identity, say

from edgekit.bench.text_models import load_models
from edgekit.bench.text_quality import score_text
from edgekit.bench.text_speed import TextBenchSettings
from edgekit.bundle.read import open_bundle
from edgekit.quality.bootstrap import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED, resampled_losses
from edgekit.quality.metrics import sentence_statistics
from edgekit.quality.parallel_text import TestSet, load_testset, testset_names
from edgekit.quality.perplexity import TextLosses, perplexity, perplexity_loss
from edgekit.quality.plain_text import DEFAULT_TEXT, load_text
from edgekit.runtime import TextGenerator, Translator

# A translation has at most so many tokens for each of its source's, and some.
TOKENS_A_TOKEN, TOKENS_MORE = 3, 32


@dataclass(frozen=True)
class Known:
    """Results on the disk, one file each, by what they depend on."""

    directory: Path

    def get(self, key: str, calculate: Callable[[], Any]) -> Any:
        """The result of a key: read, or calculated and kept."""
        path = self.path(key)
        if not path.is_file():
            self.put(key, calculate())
        return json.loads(path.read_text(encoding="utf-8"))

    def put(self, key: str, value: Any) -> None:
        """Keeps a result."""
        self.directory.mkdir(parents=True, exist_ok=True)
        staged = self.path(key).with_suffix(".part")
        staged.write_text(json.dumps(value), encoding="utf-8")
        staged.replace(self.path(key))

    def path(self, key: str) -> Path:
        """Where the result of a key lies."""
        return self.directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def translation_quality(
    bundles: Mapping[str, Path], languages: tuple[str, str], sentences: int, known: Known
) -> dict[str, dict[str, Any]]:
    """By scheme and test set: chrF, BLEU and what of them is lost."""
    found: dict[str, dict[str, Any]] = {name: {} for name in bundles}
    for testset in (load_testset(name, *languages).first(sentences) for name in testset_names(*languages)):
        statistics: dict[str, Any] = {}
        for name, bundle in bundles.items():
            key = f"{identity(bundle)} {testset.sha256} {len(testset)}"
            outputs = known.get(key, lambda bundle=bundle, testset=testset: translate(bundle, testset))
            for metric in ("chrf", "bleu"):
                scored = sentence_statistics(metric, outputs, testset.references, languages[1])
                baseline = statistics.setdefault(metric, scored)
                figures = {metric: round(scored.score(), 3)}
                if scored is not baseline:
                    losses = resampled_losses(baseline, scored, BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED)
                    figures[f"{metric}_loss"] = round(baseline.score() - scored.score(), 3)
                    figures[f"{metric}_loss_ci95"] = interval(losses)
                found[name].setdefault(testset.name, {"sentences": len(testset)}).update(figures)
    return found


def translate(bundle: Path, testset: TestSet) -> list[str]:
    """A bundle's translations of a test set's sources, greedy, as they are served."""
    say(f"{bundle}: translating {len(testset)} sentences of {testset.name}")
    if open_bundle(bundle).manifest.kind == "seq2seq":
        return Translator.load(bundle, 1).translate(list(testset.sources))
    with TextGenerator.load(bundle, 1) as generator:
        chats = [[{"role": "user", "content": text}] for text in testset.sources]
        longest = max(len(generator.encode(text)) for text in testset.sources)
        return generator.chat_each(chats, max_new_tokens=TOKENS_MORE + TOKENS_A_TOKEN * longest)


def text_quality(bundles: Mapping[str, Path], lines: int, known: Known) -> dict[str, dict[str, Any]]:
    """By scheme: perplexity, what of it is lost, and the divergence from fp32."""
    text = load_text(DEFAULT_TEXT).first(lines)
    baseline = identity(bundles[FLOAT])
    keys = {name: f"{baseline} {identity(bundle)} {text.sha256} {lines}" for name, bundle in bundles.items()}
    missing = [name for name in bundles if not known.path(keys[name]).is_file()]
    if missing:
        say(f"{bundles[FLOAT].parent.name}: perplexity of {', '.join(missing)}")
        compared = [FLOAT, *(name for name in missing if name != FLOAT)]
        window = TextBenchSettings().window(open_bundle(bundles[FLOAT]).manifest.generation.context_length)
        with load_models([bundles[name] for name in compared], 1) as models:
            for name, quality in zip(compared, score_text(models, text, *window, has_baseline=True), strict=True):
                losses, divergence = quality.losses, quality.divergence
                known.put(
                    keys[name],
                    {
                        "nats": losses.nats.tolist(),
                        "tokens": losses.tokens.tolist(),
                        "kl": divergence and divergence.mean_kl,
                        "same_top": divergence and divergence.top1_agreement,
                    },
                )
    kept = {name: json.loads(known.path(key).read_text(encoding="utf-8")) for name, key in keys.items()}
    losses = {
        name: TextLosses(np.array(each["nats"]), np.array(each["tokens"]), text.size_bytes, text.words)
        for name, each in kept.items()
    }
    return {name: {text.name: _text_figures(name, losses, kept[name])} for name in bundles}


def _text_figures(name: str, losses: Mapping[str, TextLosses], kept: Mapping[str, Any]) -> dict[str, Any]:
    found = perplexity(losses[name])
    figures: dict[str, Any] = {"tokens": found.tokens, "perplexity": round(found.perplexity, 4)}
    if name != FLOAT:
        lost = perplexity_loss(losses[FLOAT], losses[name])
        figures["perplexity_loss_percent"] = round(lost.percent, 4)
        figures["perplexity_loss_percent_ci95"] = [round(bound, 4) for bound in lost.ci95]
        figures["kl"], figures["same_top"] = round(kept["kl"], 6), round(kept["same_top"], 4)
    return figures


def interval(losses: Any) -> list[float]:
    """The 95 % interval of resampled losses."""
    return [round(float(bound), 3) for bound in np.percentile(losses, [2.5, 97.5])]
