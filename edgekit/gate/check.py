"""The gate: accepts a quantised bundle whose loss against fp32 is within a budget, and says what is wrong otherwise.

In: a `Comparison` and budgets. Out: a `Report`, whose verdict is "passed" when the upper bound of every loss is within
its budget, "refused" when the lower bound of one is above it. While neither holds more text is run (`looks`); when
there is none left, the verdict is "undecided". Only the first keeps a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.gate.budget import METRICS, Budget
from edgekit.gate.comparison import Comparison
from edgekit.gate.looks import FEWEST, MOST_LOOKS, Finding, Verdict, plan_looks, resamples_for, tail_share, verdict_of

__all__ = ["Report", "describe_finding", "run_gate"]


@dataclass(frozen=True)
class Report:
    """What the gate found.

    Attributes:
        findings: one a budget, in the order of the budgets.
        text: name of the development text.
        sha256: of its file or files.
        looks: how many looks there could have been.
    """

    findings: tuple[Finding, ...]
    text: str
    sha256: str
    looks: int

    @property
    def verdict(self) -> Verdict:
        """The worst of all: one budget that is exceeded refuses, one that is undecided leaves all undecided."""
        verdicts = {finding.verdict for finding in self.findings}
        return "refused" if "refused" in verdicts else "undecided" if "undecided" in verdicts else "passed"

    @property
    def level(self) -> float:
        """Per cent that each interval covers."""
        return 100 * (1 - 2 * tail_share(self.looks))

    def as_measured(self) -> dict[str, Any]:
        """For the manifest's ``measured``."""
        return {
            "development_text": self.text,
            "development_sha256": self.sha256,
            "interval_percent": round(self.level, 4),
            "looks": self.looks,
            **{
                finding.metric: {
                    key: round(value, 6) if isinstance(value, float) else value
                    for key, value in asdict(finding).items()
                    if key != "metric"
                }
                for finding in self.findings
            },
        }


def run_gate(
    comparison: Comparison,
    budgets: Sequence[Budget],
    text: tuple[str, str],
    advance: Callable[[int], None] = lambda _: None,
    most_looks: int = MOST_LOOKS,
) -> Report:
    """Looks at more and more text until every budget is decided, or one refuses, or there is no more.

    Args:
        comparison: what is measured.
        budgets: at least one.
        text: name and SHA-256 of the development text.
        advance: counts items that were run.
        most_looks: how often the gate may look: once is with all the text at once, and with the narrowest interval.
    """
    counts = plan_looks(comparison.items, FEWEST[comparison.unit], most_looks)
    report = None
    for count in counts:
        comparison.run(count, advance)
        findings = [_judge(comparison, budget, count, len(counts)) for budget in budgets]
        report = Report(tuple(findings), *text, len(counts))
        if report.verdict != "undecided":
            break
    assert report is not None, "a text has at least one look"
    return report


def _judge(comparison: Comparison, budget: Budget, count: int, looks: int) -> Finding:
    loss = comparison.loss(budget.metric)
    resampled = comparison.resampled(budget.metric, resamples_for(looks))
    return verdict_of(budget.metric, budget.limit, loss, resampled, items=count, unit=comparison.unit, looks=looks)


def describe_finding(finding: Finding, text: str) -> str:
    """``0.62 chrF [0.41, 0.85] on valid (500 sentences)``."""
    shown = METRICS[finding.metric].shown
    digits = 4 if finding.metric == "kl" else 2
    figures = f"{finding.loss:.{digits}f} {shown} [{finding.low:.{digits}f}, {finding.high:.{digits}f}]"
    return f"{figures} on {text} ({finding.items:,} {finding.unit})"
