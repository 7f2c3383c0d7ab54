"""Which bundles are measured together: those of one model and language pair that were made from the same files.

In: directories of bundles. Out: `Variant`s in groups, fp32 first in each, since the others are compared with it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.errors import InputError

__all__ = ["Variant", "common_task", "group_variants", "one_task", "read_variant"]

KINDS = {"translation": "seq2seq", "text-generation": "causal-lm"}


@dataclass(frozen=True)
class Variant:
    """One bundle to measure.

    Attributes:
        bundle: Its directory.
        model: Its name, as its manifest has it; so are the following.
        precision: One of `edgekit.cache.PRECISIONS`.
        source: Where its weights came from: type, id and revision.
        source_language: ISO 639-1, or None.
        target_language: ISO 639-1, or None.
        size_bytes: Sum of its files on disk.
        source_quantization: Types in which the source's own matrices were quantised, or None: they were floats.
    """

    bundle: Path
    model: str
    precision: str
    source: str
    source_language: str | None
    target_language: str | None
    size_bytes: int
    source_quantization: str | None = None


def common_task(bundles: Sequence[Path]) -> str:
    """What all the bundles do, as their manifests say it: ``translation`` or ``text-generation``.

    Raises:
        InputError: There is no bundle, or they do different things, which no figure compares.
        EdgekitError: A bundle cannot be opened.
    """
    return one_task({_task(open_bundle(path).manifest): path for path in reversed(bundles)})


def one_task(tasks: Mapping[str, object]) -> str:
    """The one task of a benchmark.

    Args:
        tasks: By task, a bundle or model that does it.

    Raises:
        InputError: There is none, or more than one, which no figure compares.
    """
    if not tasks:
        raise InputError("a benchmark needs at least one bundle or model, found none")
    if len(tasks) > 1:
        found = " and ".join(f"{task} ({tasks[task]})" for task in sorted(tasks))
        raise InputError(f"a benchmark measures bundles of one task, found {found}; measure them one after the other")
    return next(iter(tasks))


def group_variants(bundles: Sequence[Path]) -> list[list[Variant]]:
    """The bundles in groups that may be compared, each with the fp32 baseline first, else in the order given.

    Args:
        bundles: Directories; one given twice counts once.

    Raises:
        ModelNotFoundError: A bundle is missing.
        BundleError: A bundle is damaged, hostile or of an unknown version.
    """
    found: dict[Hashable, list[Variant]] = {}
    for path in dict.fromkeys(path.resolve() for path in bundles):
        bundle = open_bundle(path)
        variant = read_variant(path, bundle)
        source = bundle.manifest.source
        weights = (source.type, source.id, source.revision, tuple(sorted(source.files.items())))
        found.setdefault((variant.model, variant.source_language, variant.target_language, weights), []).append(variant)
    # A stable sort.
    return [sorted(variants, key=lambda variant: variant.precision != "fp32") for variants in found.values()]


def _task(manifest: Manifest) -> str:
    """The task, with the kind where that is another than the one that is measured for it."""
    if KINDS.get(manifest.task, manifest.kind) == manifest.kind:
        return manifest.task
    return f"{manifest.task} by a {manifest.kind} model"


def read_variant(path: Path, bundle: Bundle) -> Variant:
    """What a benchmark says about a bundle, opened from ``path``."""
    manifest = bundle.manifest
    source, languages = manifest.source, manifest.languages
    return Variant(
        path,
        manifest.name,
        manifest.precision,
        " ".join(filter(None, (source.type, source.id, source.revision))),
        languages.source,
        languages.target,
        bundle.size_bytes,
        manifest.quantization.source,
    )
