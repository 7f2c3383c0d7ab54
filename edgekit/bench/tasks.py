"""What models are asked to do: ``translate:en-pt``, or a task of the user's in a TOML file.

In: ``--task``, ``--testset``, ``--dev``, ``--prompt`` and ``--limit`` as they were given. Out: a `Task`: the test
items, the metrics, and for decoder-only models the candidate prompts with development items that no test item is among.
Refused, in one line each: an unknown form of task, unknown keys and metrics, and what `edgekit.quality.task_text` and
`edgekit.bench.prompts` refuse. The format of a task's file is in benchmarks/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.bench.comparison import Prompt
from edgekit.bench.measure import spread_sample
from edgekit.bench.prompts import MOST_SHOTS, Example, builtin_prompts, read_prompts, read_toml
from edgekit.errors import InputError
from edgekit.quality.development import load_development_pairs
from edgekit.quality.languages import language_name
from edgekit.quality.metrics import ALL_METRICS, METRIC_NAMES
from edgekit.quality.parallel_text import load_testset, testset_names
from edgekit.quality.task_text import TaskItems, load_items

__all__ = ["Development", "Task", "load_task"]

KEYS = ("name", "instruction", "metric", "output", "languages", "max_new_tokens", "test", "dev", "prompt")
_TRANSLATE = re.compile(r"translate:([A-Za-z_]+)-([A-Za-z_]+)")
_LANGUAGES = re.compile(r"([A-Za-z_]+)(?:-([A-Za-z_]+))?")
# Examples are neither a word nor a paragraph, where there are enough others.
EXAMPLE_WORDS = range(4, 26)
# Text that one-to-one characters can't tell apart is the same to a model that has seen it.
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Development:
    """Development text in two parts that share nothing.

    Attributes:
        items: What candidate prompts are scored on.
        examples: What prompts show, input and output.
        name: The set's name.
        sha256: Its digest.
    """

    items: TaskItems
    examples: tuple[Example, ...]
    name: str
    sha256: str


@dataclass(frozen=True)
class Task:
    """What is asked, of which text, and how it is scored.

    Attributes:
        name: ``translate:en-pt``, or the name in the task's file.
        metrics: The first decides.
        source_language: ISO 639-1, or None.
        target_language: ISO 639-1, or None.
        instruction: A sentence for a model that follows instructions.
        single_line: Whether an output is a line.
        max_new_tokens: Most tokens of an output; None for a limit by the input's length.
        test: What models are scored on.
        dev: Development text; None where there is none.
        prompts: Candidates.
    """

    name: str
    metrics: tuple[str, ...]
    source_language: str | None
    target_language: str | None
    instruction: str
    single_line: bool
    max_new_tokens: int | None
    test: TaskItems
    dev: TaskItems | None
    prompts: tuple[Prompt, ...]

    @property
    def words(self) -> dict[str, str]:
        """What placeholders of a prompt stand for."""
        source, target = language_name(self.source_language), language_name(self.target_language)
        return {
            "instruction": self.instruction,
            "source_language": source or "Input",
            "target_language": target or "Output",
        }

    @property
    def needs_development(self) -> bool:
        """Whether a prompt has to be chosen, or shows examples."""
        return len(self.prompts) > 1 or any(prompt.shots for prompt in self.prompts)

    def development(self, count: int) -> Development:
        """Examples, and ``count`` other items (fewer where there are fewer), none of them a test item.

        Raises:
            InputError: There is no development text, or too little that is not in the test set.
        """
        if self.dev is None:
            raise InputError(
                f"{self.name}: a decoder-only model's prompt is chosen on development text, and none is packaged; give "
                "input<TAB>output lines with --dev FILE.tsv, or a single prompt without examples with --prompt FILE"
            )
        tested = {_key(text) for text in (*self.test.inputs, *_flat(self.test.references))}
        free = [
            index
            for index, given in enumerate(self.dev.inputs)
            if not tested & {_key(given), *map(_key, self.dev.references[index])}
        ]
        shots = max(prompt.shots for prompt in self.prompts)
        if len(free) < shots + 1:
            raise InputError(
                f"{self.dev.name}: expected {shots + 1} or more development items that are not in the test set, for "
                f"{shots} examples and one to choose a prompt on; found {len(free)}"
            )
        usual = [index for index in free if len(self.dev.inputs[index].split()) in EXAMPLE_WORDS]
        examples = spread_sample(usual if len(usual) > MOST_SHOTS else free, shots)
        rest = self.dev.pick(spread_sample([index for index in free if index not in examples], count))
        pairs = tuple((self.dev.inputs[index], self.dev.references[index][0]) for index in examples)
        return Development(rest, pairs, self.dev.name, self.dev.sha256)


def load_task(
    spec: str,
    testset: str | None = None,
    dev: str | None = None,
    prompt_file: str | None = None,
    limit: int | None = None,
) -> Task:
    """The task that ``--task`` names.

    Args:
        spec: ``translate:SOURCE-TARGET``, or the path of a TOML file.
        testset: Name of a packaged test set or a file of pairs, of a translation; None for the first that is packaged.
        dev: A file of pairs, or a packaged development set's name; None for what is packaged.
        prompt_file: Prompts of the user's, instead of the built-in ones.
        limit: First items of the test set to use; None for all.

    Raises:
        InputError: Something cannot be used; see the module.
    """
    prompts = None
    if prompt_file is not None:
        table = read_toml(Path(prompt_file))
        if unknown := sorted(set(table) - {"prompt"}):
            raise InputError(f"{prompt_file}: unknown key {unknown[0]!r}; expected [[prompt]] tables alone")
        prompts = read_prompts(table.get("prompt"), prompt_file)
    if spec.endswith(".toml"):
        if testset is not None:
            raise InputError(f"--testset belongs to translate:SOURCE-TARGET; {spec} names its own test text")
        return _load_own(Path(spec), dev, prompts, limit)
    if not (match := _TRANSLATE.fullmatch(spec)):
        raise InputError(
            f"expected translate:SOURCE-TARGET, such as translate:en-pt, or the path of a .toml file as a task, "
            f"found {spec!r}"
        )
    source, target = match.groups()
    if source == target:
        raise InputError(f"expected two languages in the task, found {source} twice")
    return _load_translation(spec, source, target, testset, dev, prompts or builtin_prompts("translation"), limit)


def _load_translation(
    spec: str,
    source: str,
    target: str,
    testset: str | None,
    dev: str | None,
    prompts: tuple[Prompt, ...],
    limit: int | None,
) -> Task:
    names = testset_names(source, target)
    if testset is None and not names:
        raise InputError(
            f"no test set is packaged for {source}-{target}; give your own source<TAB>reference lines with "
            "--testset FILE.tsv"
        )
    test = TaskItems.of_pairs(load_testset(testset or names[0], source, target)).first(limit)
    development = None
    if dev is not None or testset_names(source, target, "devsets"):
        development = TaskItems.of_pairs(load_development_pairs(dev, source, target))
    instruction = f"Translate from {language_name(source)} to {language_name(target)}."
    return Task(spec, METRIC_NAMES, source, target, instruction, True, None, test, development, prompts)


def _load_own(path: Path, dev: str | None, prompts: tuple[Prompt, ...] | None, limit: int | None) -> Task:
    table = read_toml(path)
    if unknown := sorted(set(table) - set(KEYS)):
        raise InputError(f"{path}: unknown key {unknown[0]!r}; expected {', '.join(KEYS)}")
    if prompts is not None and "prompt" in table:
        raise InputError(f"{path} has prompts of its own, to which --prompt does not apply; leave one of them out")
    if prompts is None:
        prompts = read_prompts(table["prompt"], str(path)) if "prompt" in table else builtin_prompts("general")
    source, target = _languages(table, path)
    directory = path.parent
    if "test" not in table:
        raise InputError(f"{path}: expected a [test] table with input and reference, found none")
    test = load_items(table["test"], directory, f"{path}, [test]").first(limit)
    development = load_items(table["dev"], directory, f"{path}, [dev]") if "dev" in table else None
    if dev is not None:
        development = TaskItems.of_pairs(load_testset(dev, None, None))
    output = table.get("output", "line")
    if output not in ("line", "text"):
        raise InputError(f"{path}: expected line or text as output, found {output!r}")
    limit_tokens = table.get("max_new_tokens")
    if limit_tokens is not None and (type(limit_tokens) is not int or limit_tokens < 1):
        raise InputError(f"{path}: expected a whole number from 1 as max_new_tokens, found {limit_tokens!r}")
    name, instruction = table.get("name", path.stem), table.get("instruction", "")
    if not isinstance(name, str) or not isinstance(instruction, str) or not name:
        raise InputError(f"{path}: expected texts as name and instruction, found {name!r} and {instruction!r}")
    metrics = _metrics(table, path)
    return Task(name, metrics, source, target, instruction, output == "line", limit_tokens, test, development, prompts)


def _metrics(table: dict[str, Any], path: Path) -> tuple[str, ...]:
    given = table.get("metric", ["chrf"])
    metrics = given if isinstance(given, list) else [given]
    if not metrics or any(metric not in ALL_METRICS for metric in metrics) or len(set(metrics)) < len(metrics):
        raise InputError(f"{path}: expected one or more of {', '.join(ALL_METRICS)} as metric, found {given!r}")
    return tuple(metrics)


def _languages(table: dict[str, Any], path: Path) -> tuple[str | None, str | None]:
    """``"en-de"`` as both, ``"en"`` as twice the same."""
    given = table.get("languages")
    if given is None:
        return None, None
    if not isinstance(given, str) or not (match := _LANGUAGES.fullmatch(given)):
        raise InputError(f'{path}: expected a language such as "en", or two such as "en-de", found {given!r}')
    return match[1], match[2] or match[1]


def _flat(references: Sequence[tuple[str, ...]]) -> list[str]:
    return [text for right in references for text in right]


def _key(text: str) -> str:
    return _SPACE.sub(" ", text.strip()).casefold()
