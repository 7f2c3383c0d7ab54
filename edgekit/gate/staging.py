"""A bundle that is kept only when it has been judged: made in the staging directory, measured there, and then named.

In: a function that makes a bundle at a path, and one that judges it: what it returns goes into the manifest's
``measured``, and whatever it raises leaves nothing behind, Ctrl-C included. No bundle is left half accepted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.bundle.files import MANIFEST_NAME
from edgekit.bundle.read import open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest

__all__ = ["keep_if_accepted"]

CANDIDATE = "candidate"


def keep_if_accepted(
    target: Path, force: bool, make: Callable[[Path], object], judge: Callable[[Path], Mapping[str, Any] | None]
) -> Path:
    """Makes a bundle, judges it and gives it its name.

    Args:
        target: where it goes.
        force: replace a bundle that is there already; it stays where the new one is not accepted.
        make: writes a bundle at the path that it is given.
        judge: measures it, or raises; None adds nothing to the manifest.

    Returns:
        ``target``.

    Raises:
        OutputError: the target exists or can't be written.
        EdgekitError: whatever ``make`` or ``judge`` raise.
    """
    with stage_bundle(target, force) as directory:
        candidate = directory / CANDIDATE
        make(candidate)
        measured = judge(candidate)
        manifest = open_bundle(candidate).manifest
        for name in manifest.files:
            os.replace(candidate / name, directory / name)
        (candidate / MANIFEST_NAME).unlink()
        candidate.rmdir()
        known = {**(manifest.measured or {}), **(measured or {})}
        write_manifest(directory, dataclasses.replace(manifest, measured=known or None))
    return target
