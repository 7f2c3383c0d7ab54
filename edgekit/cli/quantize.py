"""``edgekit quantize``: an fp32 bundle to an int8 one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--precision", type=click.Choice(["int8"]), default="int8", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The new bundle's directory; default ./NAME-int8."
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(bundle: Path, precision: str, output: Path | None, force: bool) -> None:
    """Write an int8 bundle from the fp32 BUNDLE.

    \b
    Example:
      edgekit quantize marian-en-de-fp32
    """
    from edgekit.quantize.bundle import quantize_bundle

    click.echo(quantize_bundle(bundle, precision, output, force=force))
