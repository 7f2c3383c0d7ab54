"""A loaded-to-be bundle for the commands that run a model: found, or exported into the cache, saying so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekit.bundle.files import MANIFEST_NAME
from edgekit.cache import bundle_dir
from edgekit.cli.output import note, progress


def bundle_for(model: str, precision: str = "int8", notify: Callable[[str], None] = note) -> Path:
    """The bundle of ``model``: a bundle's directory as it is, else from the cache, else exported into it.

    Args:
        model: a bundle's directory, a recipe's name, ``org/name[@revision]`` or a checkpoint's directory.
        precision: "int8" or "fp32", for what is not a bundle yet.
        notify: called with one line when something is exported.

    Raises:
        EdgekitError: the model is unknown or can't be exported.
    """
    if (Path(model) / MANIFEST_NAME).is_file():
        return Path(model)
    name = Path(model).resolve().name if Path(model).is_dir() else model.replace("/", "--").replace("@", "--")
    target = bundle_dir(name, precision)
    if not (target / MANIFEST_NAME).is_file():
        from edgekit.export import export

        notify(f"exporting {model} in {precision} into the cache ({target})")
        export(model, precision, target, notify=notify, progress=progress)
    return target
