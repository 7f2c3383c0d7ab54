"""``edgekit quantize``: an fp32 bundle to an int8 one, or to an int4 one where it generates text.

In: a bundle's directory, or the name of an exported one, whose fp32 bundle is then meant. Out: the new directory. With
a budget, only a bundle that was measured to be within it.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgekit.cache import PRECISIONS, find_bundle
from edgekit.cli.budget_options import Wanted, budget_options, quantize_within


@click.command()
@click.argument("bundle")
@click.option("--precision", type=click.Choice(["int8", "int4"]), default="int8", show_default=True)
@budget_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The bundle's directory; default ./NAME-PRECISION, or ./NAME-mix.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(
    bundle: str,
    precision: str,
    scheme: str | None,
    max_loss: tuple[str, ...],
    dev: str | None,
    search: bool,
    cost: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write a quantised bundle from the fp32 BUNDLE: a directory, or the name of an exported model.

    int8 is calibrated on packaged text where there is some: a translator's activation scales, a language model's
    smoothing. int4 is for decoder-only models. With --max-loss the bundle is measured against fp32 on development
    text, more of it as long as that decides nothing, and kept only if the upper bound of the loss is within the budget;
    --search finds the fastest mix of formats that is. docs/quantisation.md has the schemes and what is measured how.

    \b
    Examples:
      edgekit quantize marian-en-de
      edgekit quantize ./marian-en-de-fp32 -o small
      edgekit quantize smollm2-135m --precision int4
      edgekit quantize marian-en-de --max-loss chrf=0.3
      edgekit quantize smollm2-135m --search --max-loss ppl=2%
    """
    wanted = Wanted(precision, scheme, max_loss, dev, search, cost)
    wanted.budgets()
    click.echo(quantize_within(find_fp32(bundle), output, wanted, force))


def find_fp32(bundle: str) -> Path:
    """The directory that is meant: a path as it is, a name looked up, which means fp32 where it has no precision.

    Raises:
        ModelNotFoundError: No bundle has the name.
    """
    if os.path.isdir(bundle) or os.path.isabs(bundle):
        return Path(bundle)
    return find_bundle(bundle if bundle.endswith(tuple(f"-{name}" for name in PRECISIONS)) else f"{bundle}-fp32")
