"""Whether a bundle still says on this CPU what it said where it was made, asked at its first load.

An export records a sentence and what the graphs made of it. Kernels of another CPU add floats in another order, and a
rounding that falls otherwise may change a word, so ids needn't be equal: of 120 sentences in int8, 3 came out otherwise
under AVX2 than under AVX-512, and 17 of 100 in WebAssembly. A kernel that is wrong changes nearly every word. So half
of the ids in common is enough. Saturating products, which change less than that, are looked for by themselves
(`edgekit.runtime.saturation`).

In: an opened bundle, and what it says now. Out: nothing, or a `BundleError`. What was found right is remembered as long
as neither the bundle nor onnxruntime nor the kind of CPU changes; where the cache can't be written, or the bundle was
changed within two seconds, the question is asked again.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Sequence

import onnxruntime as ort

from edgekit.bundle.read import Bundle
from edgekit.bundle.verified import SELF_CHECK, is_verified, remember
from edgekit.errors import BundleError
from edgekit.runtime.saturation import products_saturate

LEAST_IN_COMMON = 0.5
# Of x86 and of ARM: what changes neither with time nor from core to core of one kind.
CPUINFO = "/proc/cpuinfo"
CPUINFO_KEYS = {"vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features"}
# The first of its processors; a large machine has hundreds.
CPUINFO_BYTES = 8192
_SHOWN = 8


def check_once(bundle: Bundle, say: Callable[[], Sequence[int]]) -> None:
    """Compares what a bundle says with what it recorded, unless that was done before.

    Args:
        bundle: an opened bundle.
        say: gives the target ids of ``manifest.self_check.input_ids``, as many as were recorded at most.

    Raises:
        BundleError: less than half of the ids are the recorded ones.
    """
    recorded = bundle.manifest.self_check.output_ids
    mark = _mark(bundle.fingerprint)
    if not recorded or is_verified(bundle.path, mark, SELF_CHECK):
        return
    found = tuple(say())
    if in_common(recorded, found) < LEAST_IN_COMMON:
        precision = bundle.manifest.precision
        advice = "" if precision == "fp32" else "use an fp32 bundle, and "
        raise BundleError(
            f"{bundle.path}: its recorded sentence comes out as {_listed(found)} on this CPU, expected "
            f"{_listed(recorded)}; its {precision} arithmetic is wrong here: {advice}please report your CPU's name"
        )
    # Where the bundle itself was not remembered, it is too young for that.
    if is_verified(bundle.path, bundle.fingerprint):
        remember(bundle.path, mark, SELF_CHECK)


def in_common(recorded: Sequence[int], found: Sequence[int]) -> float:
    """Twice the ids that two sequences share in order over all their ids: 1 for equal ones, 0 for different ones."""
    import difflib  # only where a bundle is new to this machine

    return difflib.SequenceMatcher(None, recorded, found, autojunk=False).ratio()


def cpu_kind() -> str:
    """What tells one kind of CPU from another: on Linux its model and instruction sets, on Windows its model.

    No process is started for it, as `platform.processor` does on Linux and macOS for no more than ``platform.machine``.
    """
    try:
        with open(CPUINFO, "rb") as file:
            first = file.read(CPUINFO_BYTES).partition(b"\n\n")[0].decode(errors="replace")
    except OSError:
        first = ""
    said = [line for line in first.splitlines() if line.partition(":")[0].strip() in CPUINFO_KEYS]
    return "\n".join((platform.machine(), os.environ.get("PROCESSOR_IDENTIFIER", ""), *said))


def _mark(fingerprint: str) -> str:
    """Changes with all that may change what a bundle says."""
    kind = (cpu_kind(), str(products_saturate()))
    return hashlib.sha256("\n".join((fingerprint, ort.__version__, *kind)).encode()).hexdigest()


def _listed(ids: Sequence[int]) -> str:
    return f"{list(ids[:_SHOWN])}"[:-1] + (", ...]" if len(ids) > _SHOWN else "]")
