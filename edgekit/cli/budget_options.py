"""The options of ``edgekit export`` and ``edgekit quantize`` that ask what quantisation may cost, and their work.

In: an fp32 bundle and what was asked for. Out: a quantised bundle that is within its budget, or one line and nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.default_int8 import calibrated_default
from edgekit.cli.output import note, progress
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.gate.budget import Budget
    from edgekit.quantize.calibration import Calibration
    from edgekit.quantize.scheme import Scheme

CALIBRATION_TEXTS = 128
MIX_SUFFIX = "mix"


@dataclass(frozen=True)
class Wanted:
    """How a bundle is to be quantised, and what it may cost.

    Attributes:
        precision: "int8" or "int4".
        scheme: a named scheme; None for what the precision means.
        max_loss: budgets as the user wrote them.
        dev: a development set's name or a file; None for what is packaged.
        search: whether the fastest mix inside the budget is sought.
        cost: what the search makes least: "time" or "size"; None where nothing was said, which is "time".
    """

    precision: str
    scheme: str | None
    max_loss: tuple[str, ...]
    dev: str | None
    search: bool
    cost: str | None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is to be measured, calibrated or chosen: the precision says it all."""
        return not (self.max_loss or self.search or self.scheme)

    def budgets(self) -> list[Budget]:
        """The budgets.

        Raises:
            InputError: one can't be read, a metric is given twice, or an option lacks the one that it needs.
        """
        from edgekit.gate.budget import parse_budget

        found = [parse_budget(text) for text in self.max_loss]
        twice = [budget.metric for budget in found if [other.metric for other in found].count(budget.metric) > 1]
        if twice:
            raise InputError(f"the budget of {twice[0]} is given twice; give it once")
        if self.search and not found:
            raise InputError("--search needs a budget, such as --max-loss chrf=0.3 or --max-loss ppl=1%")
        if self.search and self.scheme:
            raise InputError("--search chooses a scheme for each tensor; leave --scheme out")
        if self.search and self.precision == "int4":
            raise InputError("--search chooses the formats, of 4 bits too; leave --precision out")
        if self.cost is not None and not self.search:
            raise InputError("--cost says what --search makes as small as it can; give --search, too, or leave it out")
        if self.dev is not None and self.is_plain:
            raise InputError("--dev gives text to --max-loss, --search and --scheme; give one of them, too")
        return found


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--scheme``, ``--max-loss``, ``--dev``, ``--search`` and ``--cost`` to a command."""
    options = (
        click.option("--scheme", metavar="NAME", help="A named scheme, such as int8-dynamic (uncalibrated)."),
        click.option(
            "--max-loss",
            multiple=True,
            metavar="METRIC=LIMIT",
            help="Keep the bundle only if it loses at most so much against fp32: chrf=0.3, bleu=0.5, ppl=1%, kl=0.02.",
        ),
        click.option("--dev", metavar="NAME|FILE", help="Development text to measure on; default: what is packaged."),
        click.option(
            "--search", is_flag=True, help="Find the fastest mix of formats, tensor by tensor, in the budget."
        ),
        click.option(
            "--cost",
            type=click.Choice(["time", "size"]),
            default=None,
            show_default="time",
            help="What --search makes as small as it can.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def quantize_within(fp32: Path, target: Path | None, wanted: Wanted, force: bool) -> Path:
    """Writes the quantised bundle of an fp32 one, if it is within its budget.

    Args:
        fp32: the fp32 bundle.
        target: the new bundle's directory; None for ``./<name>-<precision>``, of a search ``./<name>-mix``.
        wanted: what was asked for.
        force: replace an existing bundle.

    Raises:
        QualityError: the bundle is over its budget, or that can't be decided.
        EdgekitError: something that was asked for can't be had.
    """
    from edgekit.bundle.read import open_bundle
    from edgekit.bundle.write import check_target
    from edgekit.quantize.bundle import quantize_bundle

    budgets = wanted.budgets()
    manifest = open_bundle(fp32).manifest
    scheme = _named(manifest.kind, wanted)
    suffix = MIX_SUFFIX if wanted.search else wanted.precision if scheme is None else scheme.precision
    target = target or Path(f"{manifest.name}-{suffix}")
    check_target(target, force)
    if budgets:
        from edgekit.gate.acceptance import development_for
        from edgekit.gate.budget import check_budgets

        check_budgets(budgets, manifest.task)
        development_for(manifest, wanted.dev)  # before minutes of quantising
    if wanted.search:
        return _search(fp32, target, wanted, budgets, force)
    if scheme is None and wanted.precision == "int8":
        scheme, calibration = calibrated_default(fp32)
    else:
        calibration = None if scheme is None else _calibration(fp32, scheme, wanted.dev)

    def make(path: Path) -> Path:
        return quantize_bundle(
            fp32, None if scheme else wanted.precision, path, scheme=scheme, calibration=calibration, force=force
        )

    if not budgets:
        return make(target)
    return _gated(fp32, target, wanted, budgets, force, make)


def _gated(
    fp32: Path, target: Path, wanted: Wanted, budgets: list[Budget], force: bool, make: Callable[[Path], Path]
) -> Path:
    from edgekit.gate.acceptance import accept
    from edgekit.gate.staging import keep_if_accepted

    def judge(candidate: Path) -> dict[str, Any]:
        with progress("measuring the loss") as bar:
            return accept(fp32, candidate, budgets, wanted.dev, bar.advance, note)

    return keep_if_accepted(target, force, make, judge)


def _named(kind: str, wanted: Wanted) -> Scheme | None:
    """The scheme that was asked for by name; None where none was."""
    from edgekit.quantize.scheme import named_scheme

    if wanted.scheme is None:
        return None
    scheme = named_scheme(kind, wanted.scheme)
    if wanted.precision == "int4" and scheme.precision != "int4":
        made = f"--scheme {wanted.scheme} makes an {scheme.precision} bundle, not an int4 one"
        raise InputError(f"{made}; leave --precision out")
    return scheme


def _calibration(fp32: Path, scheme: Scheme, dev: str | None) -> Calibration | None:
    """Statistics of the fp32 bundle's activations on development text, where the scheme needs them."""
    if not scheme.needs_calibration:
        return None
    from edgekit.bundle.read import open_bundle
    from edgekit.gate.calibration import calibrate_on_development
    from edgekit.gate.default_scheme import CALIBRATED, calibration_texts
    from edgekit.quantize.scheme import named_scheme

    kind = open_bundle(fp32).manifest.kind
    # The default by its name is the default.
    texts = calibration_texts(kind) if scheme == named_scheme(kind, CALIBRATED[kind]) else CALIBRATION_TEXTS
    with progress("calibrating", texts) as bar:
        return calibrate_on_development(fp32, dev, texts, lambda _: bar.advance(1))


def _search(fp32: Path, target: Path, wanted: Wanted, budgets: list[Budget], force: bool) -> Path:
    from edgekit.gate.search import SearchSettings, search_mix

    settings = SearchSettings(tuple(budgets), wanted.dev, wanted.cost or "time")
    return search_mix(fp32, target, settings, force=force, notify=note, progress=progress)
