"""Time of a model's bundles on one thread, round by round side by side as `edgekit bench` has it: for a quiet machine.

In: bundles by scheme. Out: by scheme, milliseconds a sentence and words a second, or tokens a second; and the machine,
with what else it did. Each figure is the median of its rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.bench.environment import Conditions, busy_reason, read_environment
from edgekit.bench.measure import BenchSettings, measure
from edgekit.bench.text_speed import TextBenchSettings, measure_speed
from edgekit.bench.variants import Variant, read_variant
from edgekit.bundle.read import open_bundle
from edgekit.quality.parallel_text import load_testset, testset_names
from edgekit.quality.plain_text import DEFAULT_TEXT, load_text

# Sentences of each test set that are timed, or translated to warm up; tokens of a prompt and of what follows.
SENTENCES = 100
PROMPT_TOKENS, NEW_TOKENS = 128, 64


def measure_bundles(bundles: Mapping[str, Path], rounds: int) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Figures by scheme, and the machine."""
    environment = read_environment()
    variants = [read_variant(path, open_bundle(path)) for path in bundles.values()]
    timed = _translators if open_bundle(next(iter(bundles.values()))).manifest.kind == "seq2seq" else _generators
    found, conditions = timed(variants, rounds)
    background = conditions.background_cores
    machine = asdict(environment) | {
        "background_cores_during": round(background, 3),
        "warning": busy_reason(environment, background),
        "rounds": rounds,
    }
    return dict(zip(bundles, found, strict=True)), machine


def _translators(variants: Sequence[Variant], rounds: int) -> tuple[list[dict[str, Any]], Conditions]:
    languages = str(variants[0].source_language), str(variants[0].target_language)
    tests = [load_testset(name, *languages).first(SENTENCES) for name in testset_names(*languages)]
    settings = BenchSettings(rounds=rounds, loads=1, latency_sentences=SENTENCES // 2, batched_sentences=SENTENCES)
    measurements, conditions = measure(variants, tests, settings, lambda _: None)
    found = [
        {
            test.name: {
                "ms_p50": _median(timed.percentile_ms(50)),
                "ms_p95": _median(timed.percentile_ms(95)),
                "words_per_second_batched": _median(timed.words_per_second_batched()),
            }
            for test, timed in zip(tests, measurement.timed, strict=True)
        }
        for measurement in measurements
    ]
    return found, conditions


def _generators(variants: Sequence[Variant], rounds: int) -> tuple[list[dict[str, Any]], Conditions]:
    settings = TextBenchSettings(rounds=rounds, loads=1, prompt_tokens=(PROMPT_TOKENS,), new_tokens=NEW_TOKENS)
    context = open_bundle(variants[0].bundle).manifest.generation.context_length
    measurements, conditions = measure_speed(variants, context, load_text(DEFAULT_TEXT).text, settings, lambda _: None)
    found = [
        {
            "decode_tokens_per_second": _median(measurement.decode_tokens_per_second),
            "prefill_tokens_per_second": _median(next(iter(measurement.prefill_tokens_per_second.values()))),
        }
        for measurement in measurements
    ]
    return found, conditions


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)
