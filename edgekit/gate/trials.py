"""Mixes tried as a whole: written as bundles, passed through the gate, compared with the plain int8 bundle.

In: mixes of formats, an fp32 bundle with what it made of the development text. Out: whether a mix passes, which is kept
in the search's state, and how its time and size compare. Bundles that are only tried leave no trace.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.bundle.read import Bundle, open_bundle
from edgekit.gate.acceptance import compare
from edgekit.gate.budget import Budget
from edgekit.gate.candidates import mix_scheme
from edgekit.gate.check import run_gate
from edgekit.gate.comparison import TextBaseline, TranslationBaseline
from edgekit.gate.looks import MOST_LOOKS
from edgekit.gate.mixes import Mix
from edgekit.gate.search_state import SearchState
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.scheme import Format, named_scheme

__all__ = ["Gate", "Trials", "in_words", "seconds_for_all"]


# Sentences take seconds, and one look at all of them has the narrowest interval; running text takes minutes a bundle,
# and mostly a part of it decides.
LOOKS: dict[str, int] = {"sentences": 1, "windows": MOST_LOOKS}


@dataclass(frozen=True)
class Gate:
    """What each mix must pass: budgets, and name and SHA-256 of the development text."""

    budgets: Sequence[Budget]
    text: tuple[str, str]


@dataclass(frozen=True)
class Trials:
    """Bundles of mixes.

    Attributes:
        bundle: the fp32 bundle.
        formats: by the names that mixes use.
        plain: the format, and the named scheme, that the model has in plain int8.
        calibration: for the formats that need one.
        state: keeps what was found.
        notify: called with one line a mix.
    """

    bundle: Bundle
    formats: Mapping[str, Format]
    plain: str
    calibration: Calibration | None
    state: SearchState
    notify: Callable[[str], None]

    def passes(
        self,
        mix: Mix,
        directory: Path,
        baseline: TranslationBaseline | TextBaseline,
        gate: Gate,
        advance: Callable[[int], None],
    ) -> bool:
        """Whether the gate accepts a mix; its bundle is in ``directory`` for as long as that takes."""
        key = _key(mix)
        if key not in self.state:
            with tempfile.TemporaryDirectory(prefix="trial-", dir=directory) as trial:
                self.write(mix, Path(trial) / "mix")
                metrics = [budget.metric for budget in gate.budgets]
                with closing(compare(baseline, Path(trial) / "mix", metrics)) as comparison:
                    report = run_gate(comparison, gate.budgets, gate.text, advance, most_looks=LOOKS[comparison.unit])
            self.state.put(key, {"verdict": report.verdict, "measured": report.as_measured()})
        verdict = self.state.get(key)["verdict"]
        self.notify(f"{summary(mix)}: {verdict}")
        return bool(verdict == "passed")

    def measured(self, mix: Mix) -> dict[str, Any]:
        """What the gate found of a mix that was tried."""
        found: dict[str, Any] = self.state.get(_key(mix))["measured"]
        return found

    def write(self, mix: Mix, path: Path) -> None:
        """Writes the bundle of a mix."""
        scheme = mix_scheme(self.formats, mix.formats)
        quantize_bundle(self.bundle.path, None, path, scheme=scheme, calibration=self.calibration)

    def compare_with_plain(self, mix: Mix, path: Path, times: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """The mix's bundle at ``path`` beside the plain int8 one: the time of its tensors by the profile, its size.

        Args:
            mix: what is in it.
            path: where it lies.
            times: by format and tensor, in microseconds.
        """
        time_share = self._time(mix.formats, times) / self._time(dict.fromkeys(mix.formats, self.plain), times)
        with tempfile.TemporaryDirectory(prefix="plain-", dir=path.parent) as directory:
            scheme = named_scheme(self.bundle.manifest.kind, self.plain)
            written = Path(directory) / "plain"
            plain = quantize_bundle(self.bundle.path, None, written, scheme=scheme, calibration=self.calibration)
            size_share = open_bundle(path).size_bytes / open_bundle(plain).size_bytes
        self.notify(
            f"found: {summary(mix)}. By the profile its tensors take {100 * time_share:.0f} % of plain int8's time; "
            f"the bundle has {100 * size_share:.1f} % of its size"
        )
        return {
            "formats": dict(mix.formats),
            "tensor_time_of_int8": round(time_share, 4),
            "size_of_int8": round(size_share, 4),
        }

    @staticmethod
    def _time(formats: Mapping[str, str], times: Mapping[str, Mapping[str, float]]) -> float:
        return sum(times[named].get(name, 0.0) for name, named in formats.items())


def summary(mix: Mix) -> str:
    """``9 tensors in fp32, 22 in int8``."""
    names = list(mix.formats.values())
    counts = [f"{names.count(name)} in {name}" for name in sorted(set(names))]
    return f"{len(names)} tensors, {', '.join(counts)}"


def seconds_for_all(baseline: TranslationBaseline | TextBaseline) -> float:
    """How long the fp32 bundle needs for all the development text, by its beginning, which is kept."""
    started = time.perf_counter()
    if isinstance(baseline, TranslationBaseline):
        items, total = 8, len(baseline.pairs)
        baseline.translations(min(items, total))
    else:
        items, total = 1, len(baseline.windows)
        baseline.known_nats(0)
    return (time.perf_counter() - started) / min(items, total) * total


def in_words(seconds: float) -> str:
    """``40 s`` or ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _key(mix: Mix) -> str:
    return f"whole {hashlib.sha256(json.dumps(mix.formats, sort_keys=True).encode()).hexdigest()[:16]}"
