"""``edgekit import``: ONNX graphs that optimum exported to a bundle.

In: a directory. Out: the bundle's path on stdout. Nothing is fetched, and neither optimum nor torch is needed.
"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cache import PRECISIONS


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The bundle's directory; default ./NAME-PRECISION."
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(directory: Path, precision: str, output: Path | None, force: bool) -> None:
    """Build a bundle from a DIRECTORY of ONNX graphs that optimum exported, in fp32.

    That is encoder_model.onnx and its decoders (text2text-generation-with-past), or model.onnx
    (text-generation-with-past), with config.json and tokenizer.json beside them. Every weight is stored once, and what
    the bundle calculates is compared with the graphs before it is written. int4 is for decoder-only models.

    \b
    Examples:
      optimum-cli export onnx --model ./pythia-70m --task text-generation-with-past pythia-onnx
      edgekit import pythia-onnx
      edgekit import pythia-onnx --precision fp32 -o pythia-fp32
    """
    from edgekit.export import import_onnx

    click.echo(import_onnx(directory, precision, output, force=force))
