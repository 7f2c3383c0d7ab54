"""``edgekit verify``: hashes every file of a bundle.

In: a bundle's directory, or the name of an exported one. Out: one line a file on stdout, and exit status 1 if any of
them is missing, damaged, hostile or not part of the bundle. It changes nothing.
"""

from __future__ import annotations

import click
from rich.filesize import decimal

from edgekit.bundle.read import FileCheck, verify_bundle
from edgekit.cache import find_bundle
from edgekit.cli.main import EXIT_FAILURE, one_line


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.pass_context
def command(context: click.Context, bundle: str) -> None:
    """Check every file of BUNDLE against its hash: a directory, a packed file, or the name of an exported model.

    Prints one line a file; the exit status is 1 if there is a finding.

    \b
    Examples:
      edgekit verify ./marian-en-de-int8
    """
    checks = verify_bundle(find_bundle(bundle))
    for check in checks:
        click.echo(format_check(check))
    if not all(check.ok for check in checks):
        context.exit(EXIT_FAILURE)


def format_check(check: FileCheck) -> str:
    """One line: ``ok    LICENSE  11 bytes``, or ``FAIL`` with the finding."""
    if check.ok:
        return f"ok    {check.name}  {decimal(check.size_bytes)}"
    return f"FAIL  {one_line(check.name)}  {one_line(check.finding or '')}"
