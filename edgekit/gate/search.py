"""The fastest (or smallest) mix of formats inside a budget, tensor by tensor: ``edgekit quantize --search``.

First every format is timed in the whole model (`node_times`) and every tensor's divergence in every format is measured
alone (`sensitivity`); from these follows a row of mixes (`mixes`). A few of them, and plain int8, are measured as a
whole on the development text, the most faithful first, until the gate does not accept one; the cheapest of those before
is the result. Since that order is fixed beforehand and ends with the first failure, each has the whole 5 % of error: a
mix over the budget is accepted only if the first such is, in at most 2.5 % of searches (a fixed sequence of tests,
Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001, https://doi.org/10.1016/S0378-3758(01)00077-5). What is
accepted is reported once on the test sets; nothing is chosen on those.

In: an fp32 bundle and budgets. Out: the bundle of the best mix, its manifest saying what was found. What is found on
the way is kept in edgekit's cache (`search_state`), so that a search which was interrupted goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import __version__
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.errors import QualityError
from edgekit.gate.acceptance import baseline_for, development_for
from edgekit.gate.budget import Budget, check_budgets
from edgekit.gate.calibration import calibrate_on_development
from edgekit.gate.candidates import (
    FLOAT,
    FORMATS,
    Candidate,
    candidate_formats,
    make_candidate,
    searched_names,
)
from edgekit.gate.default_scheme import CALIBRATED, is_calibrated_by_default
from edgekit.gate.final_report import report_on_tests
from edgekit.gate.mixes import Mix, Option, plan_mixes, thin, uniform_mix
from edgekit.gate.node_times import measure_times
from edgekit.gate.search_state import SearchState
from edgekit.gate.sensitivity import Probe, companions
from edgekit.gate.staging import keep_if_accepted
from edgekit.gate.trials import Gate, Trials, in_words, seconds_for_all
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import WEIGHTS_FILE, arrays_of
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.scheme import Format

__all__ = ["SearchSettings", "search_mix"]

CALIBRATION_TEXTS = 128


class Bar(Protocol):
    """A progress bar."""

    def advance(self, n: float = 1) -> None:
        """Counts ``n`` more as done."""


Progress = Callable[[str, float | None], AbstractContextManager[Bar]]


@dataclass(frozen=True)
class SearchSettings:
    """What is sought.

    Attributes:
        budgets: at least one.
        dev: a development set's name or a file; None for what is packaged.
        cost: "time" or "size": what is made least.
    """

    budgets: tuple[Budget, ...]
    dev: str | None = None
    cost: str = "time"


def search_mix(
    fp32: Path,
    target: Path,
    settings: SearchSettings,
    *,
    force: bool,
    notify: Callable[[str], None],
    progress: Progress,
) -> Path:
    """Searches, and writes the bundle of the best mix.

    Args:
        fp32: the fp32 bundle.
        target: the new bundle's directory.
        settings: what is sought.
        force: replace an existing bundle.
        notify: called with one line whenever there is something to say.
        progress: opens a bar: what is going on, and how many steps it has.

    Returns:
        ``target``.

    Raises:
        QualityError: no mix is within the budget.
        EdgekitError: something that was asked for can't be had.
    """
    bundle = open_bundle(fp32)
    check_budgets(settings.budgets, bundle.manifest.task)
    search = _Search(bundle, settings, notify, progress)
    measured: dict[str, Any] = {}

    def make(path: Path) -> None:
        measured.update(search.run(path))

    try:
        keep_if_accepted(target, force, make, lambda _: measured)
    except KeyboardInterrupt:
        notify(f"interrupted; the same command goes on from here (what was found is in {search.state.path})")
        raise
    search.state.forget()
    return target


class _Search:
    """One search; its steps in order."""

    def __init__(
        self, bundle: Bundle, settings: SearchSettings, notify: Callable[[str], None], progress: Progress
    ) -> None:
        self.bundle, self.settings, self.notify, self.progress = bundle, settings, notify, progress
        self.development = development_for(bundle.manifest, settings.dev)
        self.state = SearchState(
            {
                "weights": bundle.manifest.files[WEIGHTS_FILE].sha256,
                "development": self.development.sha256,
                "budgets": [str(budget) for budget in settings.budgets],
                "cost": settings.cost,
                "edgekit": __version__,
                "formats": repr(FORMATS[bundle.manifest.kind]),
            }
        )

    def run(self, path: Path) -> dict[str, Any]:
        """Leaves the best mix's bundle at ``path``; what goes into its manifest."""
        probe = Probe(self.bundle, self.development)
        formats = candidate_formats(probe.model)
        calibration = self._calibrate(formats)
        candidates = [
            make_candidate(probe.model, name, named, calibration) for name, named in formats.items() if name != FLOAT
        ]
        times = self._times(probe, candidates, FLOAT in formats)
        options = self._options(probe, candidates, times)
        default = CALIBRATED[self.bundle.manifest.kind]
        plain = default if default in formats and is_calibrated_by_default(self.bundle.manifest) else "int8"
        trials = Trials(self.bundle, formats, plain, calibration, self.state, self.notify)
        mixes = [mix for mix in thin(plan_mixes(options)) if set(mix.formats.values()) != {FLOAT}]
        if all(set(mix.formats.values()) != {plain} for mix in mixes):
            mixes.append(uniform_mix(options, plain))
        best = self._verify(path.parent, mixes, trials)
        trials.write(best, path)
        return {
            "gate": trials.measured(best),
            "search": {**trials.compare_with_plain(best, path, times), "cost": self.settings.cost},
            "test": report_on_tests(self.bundle.path, path, self.notify),
        }

    def _verify(self, directory: Path, mixes: list[Mix], trials: Trials) -> Mix:
        """The cheapest of the mixes that the gate accepts one after the other, until the first that it doesn't."""
        accepted = []
        with closing(baseline_for(self.bundle.path, self.development)) as baseline:
            seconds = (len(mixes) + 1) * seconds_for_all(baseline)
            self.notify(
                f"at most {len(mixes)} mixes are measured as a whole: about {in_words(seconds)}, less if one isn't "
                "accepted, since those after it are less faithful"
            )
            gate = Gate(self.settings.budgets, (self.development.name, self.development.sha256))
            for number, mix in enumerate(sorted(mixes, key=lambda mix: mix.divergence), 1):
                with self.progress(f"measuring mix {number} of {len(mixes)}", None) as bar:
                    if not trials.passes(mix, directory, baseline, gate, bar.advance):
                        break
                accepted.append(mix)
        if not accepted:
            wanted = " and ".join(str(budget) for budget in self.settings.budgets)
            raise QualityError(
                f"no mix of {', '.join(trials.formats)} was found to be within {wanted} on {self.development.name}; "
                "give a larger budget, or more development text with --dev FILE; nothing was kept"
            )
        return min(accepted, key=lambda mix: mix.cost)

    def _calibrate(self, formats: Mapping[str, Format]) -> Calibration | None:
        if not any(named is not None and named.needs_calibration for named in formats.values()):
            return None
        with self.progress("calibrating", CALIBRATION_TEXTS) as bar:
            return calibrate_on_development(
                self.bundle.path, self.settings.dev, CALIBRATION_TEXTS, lambda _: bar.advance(1)
            )

    def _times(self, probe: Probe, candidates: list[Candidate], has_float: bool) -> dict[str, dict[str, float]]:
        """Microseconds of each tensor in each format, and of the whole model as ``total``."""
        names: list[tuple[str, Mapping[str, Tensor]]] = [(FLOAT, {})] if has_float else []
        names += [(each.name, each.changes) for each in candidates]
        found = {}
        for name, changes in names:
            key = f"time {name}"
            if key not in self.state:
                times = measure_times(probe, changes, "int8" if changes else "fp32")
                self.state.put(key, {**times.tensors, "total": times.total})
            found[name] = self.state.get(key)
        return found

    def _options(
        self, probe: Probe, candidates: list[Candidate], times: Mapping[str, Mapping[str, float]]
    ) -> dict[str, list[Option]]:
        """The cost and the divergence of each tensor in each format."""
        names = searched_names(probe.model)
        options: dict[str, list[Option]] = {name: [] for name in names}
        if FLOAT in times:
            for name in names:
                size = float(probe.model.weights[name].nbytes)
                options[name].append(Option(FLOAT, self._cost(times[FLOAT], name, size), 0.0))
        shares = {name: _error_shares(candidates, name, probe.model.weights[name]) for name in names}
        steps = [(name, candidate) for candidate in candidates for name in names if shares[name][candidate.name] == 1]
        unknown = sum(f"kl {candidate.name} {name}" not in self.state for name, candidate in steps)
        self.notify(
            f"search: {len(names)} tensors in {len(candidates)} formats"
            + (f"; {len(steps) - unknown} of {len(steps)} sensitivities are known" if unknown < len(steps) else "")
        )
        started, measured = time.perf_counter(), {}
        with self.progress("sensitivity", float(len(steps))) as bar:
            for done, (name, candidate) in enumerate(steps):
                measured[name, candidate.name] = self._divergence(probe, candidate, name)
                bar.advance(1)
                if done == 4 and unknown == len(steps):
                    seconds = (time.perf_counter() - started) / 5 * len(steps)
                    self.notify(f"the sensitivities take about {in_words(seconds)}")
        for name in names:
            largest = max((measured[key] for key in measured if key[0] == name), default=0.0)
            for candidate in candidates:
                size = float(sum(array.nbytes for array in arrays_of({name: candidate.changes[name]}).values()))
                nats = measured.get((name, candidate.name), largest * shares[name][candidate.name])
                options[name].append(Option(candidate.name, self._cost(times[candidate.name], name, size), nats))
        return options

    def _divergence(self, probe: Probe, candidate: Candidate, name: str) -> float:
        key = f"kl {candidate.name} {name}"
        if key not in self.state:
            self.state.put(key, probe.cost(companions(candidate.changes, name), "int8"))
        return float(self.state.get(key))

    def _cost(self, times: Mapping[str, float], name: str, size: float) -> float:
        # Two digits: formats of the same kernels differ by chance, and then the more faithful one is to be taken.
        return size if self.settings.cost == "size" else float(f"{times.get(name, 0.0):.2g}")


def _error_shares(candidates: list[Candidate], name: str, original: NDArray[Any]) -> dict[str, float]:
    """How much of the largest squared error of a tensor's weights each format has; 1 where that says nothing.

    Blocks take their inputs alike, so their divergences are, for small errors, as their weights' squared errors are:
    the second derivative times the error squared. Then one of them is measured, that with the largest error.
    """
    if not all(isinstance(candidate.format, BlockFormat) for candidate in candidates):
        return {candidate.name: 1.0 for candidate in candidates}
    errors = {}
    for candidate in candidates:
        tensor = candidate.changes[name]
        weights = tensor if isinstance(tensor, np.ndarray) else tensor.dequantize()
        errors[candidate.name] = float(np.square(weights - original, dtype=np.float64).sum())
    coarsest = max(errors, key=lambda name: errors[name])
    return {
        name: 1.0 if name == coarsest else min(error / (errors[coarsest] or 1), 0.999) for name, error in errors.items()
    }
