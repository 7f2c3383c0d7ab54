"""What a bundle that was chosen loses on the test sets: measured once, after every choice, and never chosen by.

In: an fp32 bundle and the chosen one. Out: for the manifest, the loss in each metric on each packaged test set, with
its 95 % interval. Nothing where no test set is packaged for a model's languages.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.bundle.read import open_bundle
from edgekit.gate.acceptance import baseline_for, compare
from edgekit.gate.budget import METRICS
from edgekit.quality.bootstrap import BOOTSTRAP_RESAMPLES
from edgekit.quality.parallel_text import TestSet, load_testset, testset_names
from edgekit.quality.plain_text import DEFAULT_TEXT, EvaluationText, load_text

__all__ = ["report_on_tests"]


def report_on_tests(fp32: Path, bundle: Path, notify: Callable[[str], None]) -> dict[str, Any]:
    """By the test set's name: ``{metric: {"loss": ..., "low": ..., "high": ..., "items": ...}}``."""
    manifest = open_bundle(bundle).manifest
    tests: list[TestSet | EvaluationText] = []
    if manifest.task == "translation":
        languages = manifest.languages.source, manifest.languages.target
        if all(languages):
            names = testset_names(str(languages[0]), str(languages[1]))
            tests += [load_testset(name, *languages) for name in names]
        metrics = ["chrf", "bleu"]
    else:
        tests.append(load_text(DEFAULT_TEXT))
        metrics = ["ppl", "kl"]
    return {test.name: _losses(fp32, bundle, test, metrics, notify) for test in tests}


def _losses(
    fp32: Path, bundle: Path, test: TestSet | EvaluationText, metrics: list[str], notify: Callable[[str], None]
) -> dict[str, Any]:
    found = {}
    with closing(baseline_for(fp32, test)) as baseline, closing(compare(baseline, bundle, metrics)) as comparison:
        comparison.run(comparison.items, lambda _: None)
        for metric in metrics:
            loss = comparison.loss(metric)
            low, high = np.percentile(comparison.resampled(metric, BOOTSTRAP_RESAMPLES), [2.5, 97.5])
            found[metric] = {
                "loss": round(loss, 6),
                "low": round(float(low), 6),
                "high": round(float(high), 6),
                "items": comparison.items,
            }
            shown = METRICS[metric].shown
            notify(f"on the test set {test.name}: loses {loss:.4g} {shown} [{low:.4g}, {high:.4g}]")
    return found
