"""``edgekit unpack``: a packed bundle as a directory.

In: a packed bundle. Out: the directory, its path on stdout.
"""

from __future__ import annotations

import click

from edgekit.bundle.pack import unpack_bundle
from edgekit.cache import find_bundle


@click.command()
@click.argument("file", metavar="FILE")
@click.argument("output", metavar="DIRECTORY")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
def command(file: str, output: str, force: bool) -> None:
    """Write the bundle in FILE, which `edgekit pack` made, as a new DIRECTORY, every hash checked.

    \b
    Examples:
      edgekit unpack marian.edgekit ./marian-en-de-int8
    """
    click.echo(unpack_bundle(find_bundle(file), output, force))
