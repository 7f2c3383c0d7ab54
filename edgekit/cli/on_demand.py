"""Bundles for the commands that run a model: found, or exported into the cache, saying so.

In: a bundle, or a model as `edgekit export` takes it. Out: directories of bundles, or what is known of the model before
they are exported. All bundles of one model that are asked for together have the same weights: fp32 compared with int8
would otherwise compare two models. A bundle found in the current directory that cannot be opened is refused; one in the
cache is exported again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.read import Bundle, open_bundle
from edgekit.cache import PRECISIONS, bundle_dir, cache_dir, clear, find_bundle, is_bundle
from edgekit.cli.default_int8 import export_by_precision
from edgekit.cli.main import one_line
from edgekit.cli.output import note, progress
from edgekit.errors import BundleError, InputError, ModelNotFoundError, OutputError, UnsupportedError
from edgekit.recipes import Recipe, RecipeSource, find_recipe

if TYPE_CHECKING:
    from edgekit.export.sources.checkpoint import Checkpoint

__all__ = ["FoundModel", "bundle_for", "bundles_for", "find_model"]

# A bundle made from one of these is taken for its recipe's without asking them again: that would need a network.
REMOTE_SOURCES = ("hub", "pypi", "registry")
# What is exported where no precision is asked for: the one compared with first.
PRECISIONS_OF_TASK = {
    "translation": ("fp32", "int8"),
    "text2text": ("fp32", "int8"),
    "text-generation": ("fp32", "int8", "int4"),
}

Notify = Callable[[str], None]


@dataclass(frozen=True)
class FoundModel:
    """A model that may have to be exported yet: what is known of it before.

    Attributes:
        name: As it was given.
        task: ``translation``, ``text2text`` or ``text-generation``.
        languages: The source's and the target's code, where a recipe or a bundle for one pair tells them; else None.
        bundles: Gives its bundles, and exports those that are missing; result and errors as `bundles_for`'s.
    """

    name: str
    task: str
    languages: tuple[str, str] | None
    bundles: Callable[[], list[Path]]

    @property
    def is_prompted(self) -> bool:
        """Whether it goes on from a prompt, and does not take a text to work on."""
        return self.task == "text-generation"


def bundle_for(
    model: str, precision: str = "int8", source: str | None = None, notify: Notify = note, task: str | None = None
) -> Path:
    """The bundle of ``model`` in one precision; arguments and errors as `bundles_for`'s."""
    return bundles_for(model, [precision], source, notify, task)[0]


def bundles_for(
    model: str,
    precisions: Sequence[str] | None,
    source: str | None = None,
    notify: Notify = note,
    task: str | None = None,
) -> list[Path]:
    """The bundles of ``model``: what is there already, else exported into the cache.

    Args:
        model: a bundle's directory or name (``marian-en-de-int8``), a recipe's name, ``org/name[@revision]`` or a
            checkpoint's path.
        precisions: of `edgekit.cache.PRECISIONS` in any order, for a model that is named without one; None for all
            that its task has, fp32 first.
        source: as for `edgekit.export.export`: take the weights from exactly there.
        notify: called with one line when something is exported, or is not what the model's name means first.
        task: ``translation`` or ``text-generation``, if the model must do that.

    Returns:
        A bundle for each precision, all made from the same files; if ``model`` is a bundle, that one alone.

    Raises:
        UnsupportedError: the model does something else than ``task``; nothing has been exported then.
        EdgekitError: the model is unknown or can't be exported.
    """
    return find_model(model, precisions, source, notify, task).bundles()


def find_model(
    model: str,
    precisions: Sequence[str] | None,
    source: str | None = None,
    notify: Notify = note,
    task: str | None = None,
) -> FoundModel:
    """What ``model`` means, exporting nothing yet, so that what does not suit it can be refused before that.

    What is neither a recipe nor exported is looked up, which may download it. Arguments as `bundles_for`'s.

    Raises:
        UnsupportedError: the model does something else than ``task``.
        InputError: it is not made in one of the precisions, or is a bundle that has no source.
        EdgekitError: the model is unknown.
    """
    notify = functools.cache(notify)  # several precisions have the same things to say
    if is_bundle(model) or _base_name(model) != model:
        if source is not None:
            raise InputError(f"{model} is a bundle, to which --source {source} does not apply; leave it out")
        found = _named_bundle(model, notify)
        _check_task(model, found.task, task)
        return found
    recipe = _recipe(model)
    known_task = recipe.task if recipe is not None else _exported_task(model, notify)
    checkpoint = None
    if known_task is None:
        checkpoint = _resolve(model, source, notify)
        known_task = checkpoint.task
    _check_task(model, known_task, task)
    made = PRECISIONS_OF_TASK.get(known_task, PRECISIONS)
    wanted = precisions or made
    if other := [precision for precision in wanted if precision not in made]:
        raise InputError(f"{other[0]} is for decoder-only models, which {model} is not; choose {' or '.join(made)}")

    def bundles() -> list[Path]:
        if checkpoint is None and (exported := _exported_before(model, recipe, wanted, source, notify)):
            if recipe is not None and source is None:
                _tell_other_source(recipe, exported[0], notify)
            return [bundle.path for bundle in exported]
        origin = checkpoint or _resolve(model, source, notify)
        _check_task(model, origin.task, task)
        return [_from_checkpoint(origin, model, precision, notify) for precision in wanted]

    languages = None if recipe is None else _pair(recipe.source_language, recipe.target_language)
    return FoundModel(model, known_task, languages, bundles)


def _resolve(model: str, source: str | None, notify: Notify) -> Checkpoint:
    from edgekit.export.sources.resolve import resolve_checkpoint

    return resolve_checkpoint(model, source, notify=notify, progress=progress)


def _pair(source: str | None, target: str | None) -> tuple[str, str] | None:
    return None if source is None or target is None else (source, target)


def _check_task(model: str, found: str, wanted: str | None) -> None:
    # What makes another text of a text runs as a translator does.
    if wanted in (None, found) or (wanted, found) == ("translation", "text2text"):
        return
    does, does_not, command = (
        ("generates text", "translate", "generate")
        if found == "text-generation"
        else ("translates", "generate text", "translate")
    )
    raise UnsupportedError(f"{model} {does} and doesn't {does_not}; `edgekit {command} {model}` runs it")


def _exported_task(model: str, notify: Notify) -> str | None:
    """What the bundles of a plain name do that is no recipe's; None where there are none."""
    if "/" in model or os.path.isdir(model) or not _is_bundle_name(model):
        return None
    found = (bundle for precision in PRECISIONS for bundle in _existing(model, precision, notify))
    return next((bundle.manifest.task for bundle in found), None)


def _named_bundle(model: str, notify: Notify) -> FoundModel:
    """The bundle of that path or name; a recipe's that cannot be opened is exported into the cache again."""
    path, base = find_bundle(model), _base_name(model)
    is_recipes = not is_bundle(model) and _recipe(base) is not None
    bundle = _open(path, notify) if is_recipes else open_bundle(path)
    if bundle is None:
        return replace(find_model(base, [model.removeprefix(f"{base}-")], notify=notify), name=model)
    manifest = bundle.manifest
    # What a model of many languages names are those that it takes unless told others.
    pair = None if manifest.language_tokens else _pair(manifest.languages.source, manifest.languages.target)
    return FoundModel(model, manifest.task, pair, lambda: [path])


def _exported_before(
    model: str, recipe: Recipe | None, precisions: Sequence[str], source: str | None, notify: Notify
) -> list[Bundle]:
    """Bundles that need no look at the checkpoint, because the name means one model; empty if one is missing."""
    if recipe is None and (source is not None or "/" in model or os.path.isdir(model)):
        # A directory's files may have changed, and two repositories may share the last part of their names.
        return []
    if source is not None and source not in REMOTE_SOURCES:
        return []
    if recipe is None and not _is_bundle_name(f"{model}-{precisions[0]}"):
        return []
    candidates = [_existing(model, precision, notify) for precision in precisions]
    for first in candidates[0]:
        if source is not None and recipe is not None and not _is_from(first, recipe.sources, source):
            continue
        alike = [
            [bundle for bundle in bundles if bundle.manifest.source == first.manifest.source] for bundles in candidates
        ]
        if all(alike):
            return [bundles[0] for bundles in alike]
    return []


def _from_checkpoint(checkpoint: Checkpoint, model: str, precision: str, notify: Notify) -> Path:
    """The bundle made from exactly these files, exported into the cache if there is none."""
    for bundle in _existing(checkpoint.name, precision, notify):
        if asdict(bundle.manifest.source) == checkpoint.source:
            return bundle.path
    target = bundle_dir(checkpoint.name, precision)
    notify(f"exporting {model} in {precision} into the cache: {target}")
    if target.is_dir() and _open(target, notify) is None:
        clear(target.name)  # what is damaged may not even be recognised as a bundle, which ``force`` does not replace
    try:
        return export_by_precision(checkpoint, precision, target, force=True, notify=notify)
    except OutputError as error:
        reason = str(error).partition("; ")[0]  # the rest is about an output that the user chose
        raise OutputError(f"{reason}; EDGEKIT_CACHE moves the cache, `edgekit export` writes elsewhere") from None


def _existing(name: str, precision: str, notify: Notify) -> list[Bundle]:
    """The bundles of that name here and in the cache, in this order."""
    directories = (Path(f"{name}-{precision}"), bundle_dir(name, precision))
    return [bundle for directory in directories if (bundle := _open(directory, notify)) is not None]


def _open(directory: Path, notify: Notify) -> Bundle | None:
    """The bundle; None if there is none, or one in the cache that cannot be used, which is said."""
    if not is_bundle(directory):
        return None
    try:
        return open_bundle(directory)
    except BundleError as error:
        if not _is_cached(directory):
            raise
        reason = str(error).partition("; ")[0]  # the rest says to export it again, which is what happens
        notify(one_line(f"the cache's {directory.name} can't be used: {reason}"))
        return None


def _tell_other_source(recipe: Recipe, bundle: Bundle, notify: Notify) -> None:
    """Says so if a recipe's bundle was made from something else than the recipe's first source."""
    first, found = recipe.sources[0], bundle.manifest.source
    if _is_from(bundle, recipe.sources[:1], first.type):
        return
    precision = bundle.manifest.precision
    option = "" if precision == "int8" else f" --precision {precision}"
    export = f"`edgekit export {recipe.name}{option} --source {first.type}`"
    if _is_cached(bundle.path):
        advice = f"`edgekit cache clear {recipe.name}` or {export} gets that one"
    else:
        advice = f"{export.removesuffix('`')} --force` replaces it"
    notify(
        one_line(
            f"{recipe.name}: using {bundle.path}, made from {found.type} {found.id}, "
            f"not from {first.type} {first.id}; {advice}"
        )
    )


def _is_from(bundle: Bundle, sources: Sequence[RecipeSource], source_type: str) -> bool:
    """Whether a bundle was made from one of a recipe's sources, of that type."""
    found = bundle.manifest.source
    # A wheel's recipe pins ``distribution==version``, which the manifest has as id and revision.
    ids = [source.id.partition("==")[0] for source in sources if source.type == source_type]
    return found.type == source_type and found.id in ids


def _is_cached(directory: Path) -> bool:
    return directory.resolve().is_relative_to((cache_dir() / "bundles").resolve())


def _base_name(model: str) -> str:
    """``marian-en-de`` of ``marian-en-de-int8``; the same of a name without a precision."""
    for precision in PRECISIONS:
        if model.endswith(f"-{precision}"):
            return model.removesuffix(f"-{precision}")
    return model


def _is_bundle_name(name: str) -> bool:
    """Whether a name, which may be any text, finds a bundle here or in the cache."""
    try:
        find_bundle(name)
    except ModelNotFoundError:
        return False
    return True


def _recipe(name: str) -> Recipe | None:
    try:
        return find_recipe(name)
    except ModelNotFoundError:
        return None
