"""How decoder-only models were asked: which prompts were tried, which was taken, what the model then read.

In: a `PromptChoice`. Out: what a page shows of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bench.comparison import PromptChoice, PromptTrial, TaskComparison
from edgekit.report.cells import Cell, Figure, Row, Table, cell
from edgekit.report.numbers import points
from edgekit.report.wording import listed

__all__ = ["Prompted", "prompted", "say_cleaned"]


@dataclass(frozen=True)
class Prompted:
    """A model's prompts.

    Attributes:
        name: The model.
        said: How the prompt was chosen.
        trials: What was tried, with scores.
        shown: What the model reads for the first item.
    """

    name: str
    said: str
    trials: Table
    shown: str


def prompted(name: str, choice: PromptChoice) -> Prompted:
    """How a model was asked."""
    scored = sum(trial.score is not None for trial in choice.trials)
    said = (
        f"The best of {scored} prompts on {choice.devset_items} texts of {choice.devset}, development text of which "
        f"nothing is in the test set (sha256 {choice.devset_sha256[:16]}), is {choice.chosen}."
        if scored
        else f"One prompt was given, and none was tried beside it: {choice.chosen}."
    )
    rows = tuple(Row(trial.prompt.name, _trial_cells(trial, choice.chosen)) for trial in choice.trials)
    header = ("style", "examples", "score on development text", "ends at")
    return Prompted(name, said, Table("Prompts tried", header, rows), choice.shown)


def _trial_cells(trial: PromptTrial, chosen: str) -> tuple[Cell, ...]:
    prompt, is_chosen = trial.prompt, trial.prompt.name == chosen
    score = (trial.reason or "not scored",) if trial.score is None else (Figure(trial.score, points(trial.score)),)
    ends = ", ".join(repr(stop) for stop in prompt.stop) or "end of text"
    taken = ("taken",) if is_chosen else ()
    return cell(prompt.style), cell(str(prompt.shots)), Cell(score, taken, is_chosen), cell(ends)


def say_cleaned(comparison: TaskComparison) -> str:
    """How many outputs the rules of cleaning changed; empty where no model was prompted."""
    count = len(comparison.task.inputs)
    changed = [f"{model.cleaned:,} of {count:,} outputs of {model.name}" for model in comparison.models if model.prompt]
    return f"White space aside, this changed {listed(changed)}." if changed else ""
