"""From two bundles and a budget to a verdict in one line: what `edgekit export|quantize --max-loss` do.

In: an fp32 bundle, the quantised one made of it, budgets, a development text by name or file. Out: what goes into the
manifest's ``measured``. A bundle that is refused or of which nothing can be decided raises `QualityError`, whose line
says by how much it misses the budget, which tensors cost most, and what to try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.errors import QualityError
from edgekit.gate.budget import METRICS, Budget, check_budgets
from edgekit.gate.check import Report, describe_finding, run_gate
from edgekit.gate.comparison import Comparison, TextBaseline, TextLoss, TranslationBaseline, TranslationLoss
from edgekit.gate.forced import weights_of
from edgekit.gate.looks import FEWEST
from edgekit.gate.sensitivity import Probe, moved_scales
from edgekit.graph.foreign import IMPORTED
from edgekit.quality.development import load_development_pairs, load_development_text
from edgekit.quality.parallel_text import TestSet
from edgekit.quality.plain_text import EvaluationText

__all__ = ["accept", "baseline_for", "compare", "development_for", "refusal"]

COSTLIEST_SHOWN = 3


def development_for(manifest: Manifest, name_or_path: str | None) -> TestSet | EvaluationText:
    """The development text of a model: pairs for a translator, running text for a generator.

    Raises:
        InputError: there is none of that name, or none is packaged.
    """
    if manifest.task == "translation":
        return load_development_pairs(name_or_path, manifest.languages.source, manifest.languages.target)
    return load_development_text(name_or_path)


def baseline_for(fp32: Path, development: TestSet | EvaluationText) -> TranslationBaseline | TextBaseline:
    """The fp32 bundle, to compare others with; to be kept while these are compared."""
    if isinstance(development, TestSet):
        return TranslationBaseline(fp32, development)
    return TextBaseline(fp32, development)


def compare(baseline: TranslationBaseline | TextBaseline, bundle: Path, metrics: Sequence[str]) -> Comparison:
    """A quantised bundle beside its fp32 one."""
    if isinstance(baseline, TranslationBaseline):
        return TranslationLoss(baseline, bundle, metrics)
    return TextLoss(baseline, bundle, metrics)


def accept(
    fp32: Path,
    quantized: Path,
    budgets: Sequence[Budget],
    dev: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
    notify: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Passes a quantised bundle through the gate.

    Args:
        fp32: the bundle that it was made of.
        quantized: the bundle.
        budgets: at least one.
        dev: a development set's name or a file; None for what is packaged.
        advance: counts sentences or windows that were run.
        notify: called with one line for each budget that is met.

    Returns:
        What was measured, for the manifest.

    Raises:
        InputError: a budget or the development text can't be used with this model.
        QualityError: the loss is above a budget, or may be.
    """
    bundle = open_bundle(quantized)
    check_budgets(budgets, bundle.manifest.task)
    development = development_for(bundle.manifest, dev)
    baseline = baseline_for(fp32, development)
    with closing(compare(baseline, quantized, [budget.metric for budget in budgets])) as comparison:
        report = run_gate(comparison, budgets, (development.name, development.sha256), advance)
    if report.verdict == "passed":
        for finding in report.findings:
            budget = Budget(finding.metric, finding.limit)
            notify(f"loses {describe_finding(finding, report.text)}: within {budget}")
        return {"gate": report.as_measured()}
    costs: dict[str, float] = {}
    if report.verdict == "refused" and not bundle.manifest.architecture.get(IMPORTED):
        probe, weights = Probe(open_bundle(fp32), development), weights_of(bundle)
        if not moved_scales(weights, probe.model):
            costs = probe.costs(weights, bundle.manifest.precision)
    raise QualityError(refusal(report, bundle, costs))


def refusal(report: Report, bundle: Bundle, costs: dict[str, float]) -> str:
    """The line for a bundle that does not pass: by how much, which tensors, what to try."""
    manifest, verdict = bundle.manifest, report.verdict
    finding = next(finding for finding in report.findings if finding.verdict == verdict)
    budget, metric = Budget(finding.metric, finding.limit), METRICS[finding.metric]
    what = f"{manifest.name} in {manifest.precision} loses {describe_finding(finding, report.text)}"
    if verdict == "undecided":
        few = finding.items < FEWEST[finding.unit]
        why = f"fewer than {FEWEST[finding.unit]} {finding.unit} decide nothing" if few else "the text is used up"
        return (
            f"undecided: {what}, and the budget is {budget}; {why}: give more development text with --dev FILE, "
            "or a larger budget; nothing was kept"
        )
    dearest = sorted(costs, key=lambda name: -costs[name])[:COSTLIEST_SHOWN]
    tensors = ", ".join(f"{name.removesuffix('.weight')} {costs[name]:.2g}" for name in dearest)
    which = f"The costliest tensors, in nats of KL divergence alone: {tensors}. " if tensors else ""
    roomy = Budget(finding.metric, float(f"{finding.high * 1.05:.2g}"))
    return (
        f"{what}, the budget is {budget}: over it by at least {finding.low - finding.limit:.2g} {metric.shown}. "
        f"{which}Try --search, which keeps such tensors in more bits, another --scheme, or --max-loss {roomy}; nothing "
        "was kept"
    )
