"""``edgekit quantize``: an fp32 bundle to an int8 one, or to an int4 one where it generates text.

In: a bundle's directory, or the name of an exported one, whose fp32 bundle is then meant. Out: the new directory.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgekit.cache import PRECISIONS, find_bundle


@click.command()
@click.argument("bundle")
@click.option("--precision", type=click.Choice(["int8", "int4"]), default="int8", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The new bundle's directory; default ./NAME-PRECISION."
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(bundle: str, precision: str, output: Path | None, force: bool) -> None:
    """Write a quantised bundle from the fp32 BUNDLE: a directory, or the name of an exported model.

    int4 is for decoder-only models.

    \b
    Examples:
      edgekit quantize marian-en-de
      edgekit quantize ./marian-en-de-fp32 -o small
      edgekit quantize smollm2-135m --precision int4
    """
    from edgekit.quantize.bundle import quantize_bundle

    click.echo(quantize_bundle(find_fp32(bundle), precision, output, force=force))


def find_fp32(bundle: str) -> Path:
    """The directory that is meant: a path as it is, a name looked up, which means fp32 where it has no precision.

    Raises:
        ModelNotFoundError: No bundle has the name.
    """
    if os.path.isdir(bundle) or os.path.isabs(bundle):
        return Path(bundle)
    return find_bundle(bundle if bundle.endswith(tuple(f"-{name}" for name in PRECISIONS)) else f"{bundle}-fp32")
