"""Chooses a language model's prompt: every candidate on development text, the best in the task's metric.

A model is not to be beaten by a bad prompt, and test text must not choose one. In: an entrant, its task, a worker. Out:
a `PromptChoice` for the report, and the chosen prompt's `Asking`.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.bench.asking import Asking
from edgekit.bench.comparison import Prompt, PromptChoice, PromptTrial
from edgekit.bench.entrants import Entrant
from edgekit.bench.prompts import show
from edgekit.bench.tasks import Development, Task
from edgekit.bench.worker_process import WorkerProcess
from edgekit.errors import UnsupportedError
from edgekit.quality.metrics import sentence_statistics

__all__ = ["choose_prompt"]


def choose_prompt(
    entrant: Entrant,
    task: Task,
    development: Development | None,
    worker: WorkerProcess,
    batch_tokens: int,
    advance: Callable[[int], None],
) -> tuple[PromptChoice, Asking]:
    """The best of the task's prompts for one model.

    Args:
        entrant: The model.
        task: Its candidates, its metric, its test items (of which the first is shown in the report and never scored).
        development: What candidates are scored on; None where there is a single one without examples.
        worker: Has the model loaded.
        batch_tokens: For `Asking`.
        advance: Called with the number of development items each time that a candidate has been tried.

    Raises:
        UnsupportedError: No candidate can be used with this model.
        WorkerError: The worker died, answered nonsense or took too long.
    """
    examples = development.examples if development else ()

    def asking(prompt: Prompt) -> Asking:
        return Asking(entrant, task, prompt, examples, batch_tokens)

    trials = []
    for prompt in task.prompts:
        trials.append(_try(asking(prompt), prompt, development, worker))
        advance(len(development.items) if development else 0)
    able = [trial for trial in trials if trial.reason is None]
    if not able:
        reasons = "; ".join(f"{trial.prompt.name}: {trial.reason}" for trial in trials)
        raise UnsupportedError(f"{entrant.variant.bundle}: no prompt can be used for {task.name}: {reasons}")
    # The first of equals.
    best = max(able, key=lambda trial: trial.score or 0.0).prompt
    chosen = asking(best)
    choice = PromptChoice(
        chosen=best.name,
        trials=tuple(trials),
        devset=development.name if development else "",
        devset_sha256=development.sha256 if development else "",
        devset_items=len(development.items) if development else 0,
        shown=show(chosen.rendered(task.test.inputs[0])),
    )
    return choice, chosen


def _try(asking: Asking, prompt: Prompt, development: Development | None, worker: WorkerProcess) -> PromptTrial:
    if prompt.style == "chat" and not asking.entrant.has_chat:
        return PromptTrial(prompt, None, "the model has no chat template")
    # A single prompt of the user's is not compared with any, but must be possible.
    texts = development.items.inputs if development else asking.task.test.inputs[:1]
    outputs = asking.outputs(worker, texts)
    if all(output.was_refused for output in outputs):
        answers = worker.request("answer_each", **asking.fields(texts[:1]))["answers"]
        return PromptTrial(prompt, None, str(answers[0].get("refused", "the model refuses every item")))
    if development is None:
        return PromptTrial(prompt, None)
    task = asking.task
    found = sentence_statistics(
        task.metrics[0],
        [output.text for output in outputs],
        development.items.references,
        task.target_language,
        development.items.inputs,
    )
    return PromptTrial(prompt, found.score())
