"""Puts a task's items to an entrant's worker, and makes outputs of its answers.

A translator gets the texts themselves; a language model gets them in its prompt, and what it answers is cut and cleaned
(`edgekit.bench.cleaning`). In: indices or texts. Out: requests' fields, and outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bench.cleaning import clean_answer
from edgekit.bench.comparison import Prompt
from edgekit.bench.entrants import Entrant
from edgekit.bench.prompts import Example, render
from edgekit.bench.tasks import Task
from edgekit.bench.worker_process import WorkerError, WorkerProcess
from edgekit.quality.languages import language_name

__all__ = ["Asking", "Output"]


@dataclass(frozen=True)
class Output:
    """What came of one item: the text that is scored, whether cleaning changed it, whether the model refused it."""

    text: str
    was_cleaned: bool = False
    was_refused: bool = False


@dataclass(frozen=True)
class Asking:
    """How one entrant is asked.

    Attributes:
        entrant: Who is asked.
        task: What.
        prompt: In which words; None for a translator.
        examples: What the prompt shows.
        batch_tokens: Token budget of a translator's batch.
    """

    entrant: Entrant
    task: Task
    prompt: Prompt | None
    examples: tuple[Example, ...]
    batch_tokens: int

    def fields(self, texts: Sequence[str]) -> dict[str, Any]:
        """The fields of a request ``answer_each`` or ``answer_bulk`` on these inputs."""
        if self.prompt is None:
            languages = None if self.entrant.languages is None else list(self.entrant.languages)
            return {"asked": list(texts), "languages": languages, "batch_tokens": self.batch_tokens}
        # A completion goes on with the next example behind its line; a chat ends by itself.
        line = ("\n",) if self.prompt.style == "completion" and self.task.single_line else ()
        return {
            "asked": [self.rendered(text) for text in texts],
            "inputs": list(texts),
            "stop": list(dict.fromkeys((*self.prompt.stop, *line))),
            "max_new_tokens": self.task.max_new_tokens,
        }

    def rendered(self, text: str) -> Any:
        """What a language model reads for one input."""
        assert self.prompt is not None
        return render(self.prompt, text, self.examples, self.task.words)

    def output(self, answer: str | None, asked: str) -> Output:
        """The output of an answer; None is a refused item."""
        if answer is None:
            return Output("", was_refused=True)
        if self.prompt is None:
            return Output(answer)
        language = language_name(self.task.target_language)
        text = clean_answer(answer, asked, language, single_line=self.task.single_line)
        return Output(text, was_cleaned=text != answer.strip())

    def outputs(self, worker: WorkerProcess, texts: Sequence[str]) -> list[Output]:
        """Outputs of inputs, generated in one call.

        Raises:
            WorkerError: The worker died, or gave another number of answers.
        """
        answers = worker.request("answer_bulk", **self.fields(texts))["texts"]
        if len(answers) != len(texts):
            raise WorkerError(
                f"measuring {self.entrant.variant.bundle}: expected {len(texts)} answers, found {len(answers)}"
            )
        return [self.output(answer, text) for answer, text in zip(answers, texts, strict=True)]
