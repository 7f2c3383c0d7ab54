"""Who takes part in a comparison: bundles that can do the task, each under a name of its own.

In: bundles and a `Task`. Out: `Entrant`s, in the order given. Refused, in one line that names the bundle: a translator
of other languages, a language model that none of the prompts fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.bench.tasks import Task
from edgekit.bench.variants import Variant, read_variant
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError, UnsupportedError
from edgekit.runtime.languages import find_prompt

__all__ = ["Entrant", "check_languages", "read_entrants"]


@dataclass(frozen=True)
class Entrant:
    """A bundle that takes part.

    Attributes:
        name: Unique in the comparison.
        variant: The bundle.
        kind: ``seq2seq``, which takes the text itself, or ``causal-lm``, which is prompted.
        has_chat: Whether it has a chat template.
        languages: What a translator of many languages is told; None for others.
    """

    name: str
    variant: Variant
    kind: str
    has_chat: bool
    languages: tuple[str, str] | None

    @property
    def is_prompted(self) -> bool:
        """Whether it needs a prompt."""
        return self.kind == "causal-lm"


def read_entrants(bundles: Sequence[Path], task: Task) -> list[Entrant]:
    """The bundles as entrants; one given twice takes part once.

    Raises:
        InputError: There is no bundle.
        ModelNotFoundError: A bundle is missing.
        BundleError: A bundle is damaged, hostile or of an unknown version.
        UnsupportedError: A bundle cannot do the task.
    """
    if not bundles:
        raise InputError("a comparison needs at least one model, found none")
    entrants = [_read(path, task) for path in dict.fromkeys(path.resolve() for path in bundles)]
    names = Counter(entrant.name for entrant in entrants)
    named = [
        replace(entrant, name=f"{entrant.name} ({entrant.variant.bundle.name})") if names[entrant.name] > 1 else entrant
        for entrant in entrants
    ]
    counts = Counter(entrant.name for entrant in named)
    return [
        replace(entrant, name=f"{entrant.name} {number}") if counts[entrant.name] > 1 else entrant
        for number, entrant in enumerate(named, 1)
    ]


def _read(path: Path, task: Task) -> Entrant:
    bundle = open_bundle(path)
    manifest = bundle.manifest
    variant = read_variant(path, bundle)
    name = f"{variant.model} {variant.precision}"
    if manifest.kind == "causal-lm":
        if manifest.chat is None and all(prompt.style == "chat" for prompt in task.prompts):
            raise UnsupportedError(
                f"{path}: {variant.model} has no chat template, and every prompt is a chat; give a completion with "
                "--prompt FILE"
            )
        return Entrant(name, variant, manifest.kind, manifest.chat is not None, None)
    return Entrant(name, variant, manifest.kind, False, _check_languages(path, manifest, task))


def _check_languages(path: Path, manifest: Manifest, task: Task) -> tuple[str, str] | None:
    """What a translator of many languages has to be told, if this is one.

    Raises:
        UnsupportedError: The model is for other languages.
    """
    source, target = task.source_language, task.target_language
    if manifest.language_tokens is not None and source is not None and target is not None:
        try:
            find_prompt(manifest, source, target)
        except InputError as error:
            raise UnsupportedError(f"{path}: cannot do {task.name}: {error}") from None
        return source, target
    found = manifest.languages.source, manifest.languages.target
    if found[0] is not None and found[1] is not None:
        check_languages(f"{path}: {manifest.name}", (found[0], found[1]), task)
    return None


def check_languages(shown: str, found: tuple[str, str], task: Task) -> None:
    """Refuse a translator of one pair for another one's task.

    Args:
        shown: The model, for messages.
        found: The languages that it translates from and to.
        task: What it is asked to do.

    Raises:
        UnsupportedError: It is for other languages, or the task names none.
    """
    if found == (task.source_language, task.target_language):
        return
    does = f"{shown} translates {found[0]}-{found[1]}"
    if task.source_language is None:
        raise UnsupportedError(
            f'{does}, and the task {task.name} names no languages; add languages = "{found[0]}-{found[1]}" to its file '
            "if that is what it asks for"
        )
    raise UnsupportedError(f"{does} and cannot do {task.name}; choose a model for these languages")
