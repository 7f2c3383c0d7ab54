"""`edgekit cache`: lists and clears what edgekit itself keeps on disk; the Hugging Face hub's cache is not touched."""

from __future__ import annotations

import json
import sys

import click
import rich.box
from rich.table import Table

from edgekit.cache import CacheEntry, cache_dir, clear, find_entries, list_entries
from edgekit.cli.main import EXIT_FAILURE
from edgekit.cli.output import note, stdout_console

SCHEMA_VERSION = 1


@click.group(invoke_without_command=True, short_help="List or clear what edgekit keeps on disk.")
@click.pass_context
def command(context: click.Context) -> None:
    """List or clear what edgekit keeps on disk: bundles exported on demand, and files fetched for exports.

    EDGEKIT_CACHE moves it. Files from the Hugging Face hub stay in the hub's own cache; `hf cache` manages that.

    \b
    Examples:
      edgekit cache                          list, as `edgekit cache list`
      edgekit cache clear marian-en-de       remove its bundles
      edgekit cache clear --yes              remove everything without asking
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_command(as_json: bool = False) -> None:
    """List the cache's entries with their sizes."""
    entries = list_entries()
    if as_json:
        listed = [
            {"name": entry.name, "kind": entry.kind, "path": str(entry.path), "size_bytes": entry.size_bytes}
            for entry in entries
        ]
        found = {"schema_version": SCHEMA_VERSION, "path": str(cache_dir()), "entries": listed}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = stdout_console()
    if entries:
        console.print(_build_table(entries))
    console.print(f"{_total(entries)} in {cache_dir()}", soft_wrap=True)


@command.command("clear")
@click.argument("name", required=False)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def clear_command(context: click.Context, name: str | None, yes: bool) -> None:
    """Remove the entry NAME as `list` shows it, a model's bundles by its name, or without NAME everything."""
    find_entries(name)  # an unknown name is refused before the question
    if not yes and not click.confirm(f"Remove {name or 'everything'} from {cache_dir()}?", err=True):
        note("nothing removed")
        context.exit(EXIT_FAILURE)
    removed = clear(name)
    note(f"removed {_total(removed)}")


def _total(entries: list[CacheEntry]) -> str:
    size_mb = sum(entry.size_bytes for entry in entries) / 1e6
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {size_mb:.1f} MB"


def _build_table(entries: list[CacheEntry]) -> Table:
    table = Table(box=rich.box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("kind")
    table.add_column("MB", justify="right")
    for entry in entries:
        table.add_row(entry.name, entry.kind, f"{entry.size_bytes / 1e6:.1f}")
    return table
