"""``edgekit pack``: a bundle as one file.

In: a bundle. Out: the file, its path on stdout. Progress has nothing to say: it takes as long as copying.
"""

from __future__ import annotations

import click

from edgekit.bundle.pack import pack_bundle
from edgekit.cache import find_bundle


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.argument("output", metavar="FILE")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(bundle: str, output: str, force: bool) -> None:
    """Write BUNDLE, a directory or the name of an exported model, as one FILE, by custom NAME.edgekit.

    The file can be used wherever a bundle can; the weights are mapped from where they lie in it. It is a zip archive
    that any unzip program reads. The same bundle gives the same bytes.

    \b
    Examples:
      edgekit pack ./marian-en-de-int8 marian.edgekit
      edgekit translate marian.edgekit "Good morning!"
    """
    click.echo(pack_bundle(find_bundle(bundle), output, force))
