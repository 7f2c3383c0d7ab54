"""A bundle for the commands that run a model: found, or exported into the cache, saying so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edgekit.bundle.files import MANIFEST_NAME
from edgekit.bundle.read import open_bundle
from edgekit.cache import PRECISIONS, bundle_dir, find_bundle
from edgekit.cli.output import note, progress
from edgekit.errors import ModelNotFoundError


def bundle_for(model: str, precision: str = "int8", notify: Callable[[str], None] = note) -> Path:
    """The bundle of ``model``: what is there already, else exported into the cache.

    Args:
        model: a bundle's directory or name (``marian-en-de-int8``), a recipe's name, ``org/name[@revision]`` or a
            checkpoint's directory.
        precision: "int8" or "fp32", for a model that is named without one.
        notify: called with one line when something is exported.

    Raises:
        EdgekitError: the model is unknown or can't be exported.
    """
    if (Path(model) / MANIFEST_NAME).is_file() or model.endswith(tuple(f"-{name}" for name in PRECISIONS)):
        return find_bundle(model)
    from edgekit.export import export_checkpoint
    from edgekit.export.sources.resolve import resolve_checkpoint

    # A recipe's name means one model; a directory's files may have changed since it was exported, and two repositories
    # may share the last part of their names.
    if "/" not in model and not Path(model).is_dir():
        with contextlib.suppress(ModelNotFoundError):
            return find_bundle(f"{model}-{precision}")
    checkpoint = resolve_checkpoint(model, notify=notify, progress=progress)
    target = bundle_dir(checkpoint.name, precision)
    if (target / MANIFEST_NAME).is_file() and asdict(open_bundle(target).manifest.source) == checkpoint.source:
        return target
    notify(f"exporting {model} in {precision} into the cache: {target}")
    return export_checkpoint(checkpoint, precision, target, force=True)
