"""`edgekit models`: the recipes, what their sources weigh, under which licence, and what works without a network."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import rich.box
from rich.table import Table

from edgekit.cli.output import stdout_console
from edgekit.recipes import Recipe, load_recipes

SCHEMA_VERSION = 1
OFFLINE_WORDS = {
    "exported": "yes (exported)",
    "cached": "yes (fetched)",
    "installed": "yes (wheel installed)",
    "embedded": "yes (embedded)",
    None: "no",
}


@click.command(short_help="List the models that edgekit knows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every source and licence note.")
def command(as_json: bool) -> None:
    """List the models that edgekit knows by name.

    Where a model has several sources, they are tried in the order shown; sizes and licences follow that order. Any
    MarianMT repository on the Hugging Face hub (org/name) and any local checkpoint can be exported too.

    \b
    Examples:
      edgekit models
      edgekit models --json | jq '.models[].name'
    """
    from edgekit.export.sources.resolve import offline_availability

    described = [_describe(recipe, offline_availability(recipe)) for recipe in load_recipes()]
    if as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "models": described}, indent=2, ensure_ascii=False))
        return
    console = stdout_console()
    console.print(_build_table(described))
    for line in _license_notes(described):
        console.print(line, soft_wrap=True)


def _describe(recipe: Recipe, offline: str | None) -> dict[str, Any]:
    sources = [
        {
            "type": source.type,
            "id": source.id,
            "size_mb": source.size_mb,
            "license": source.license,
            "license_note": source.license_note,
        }
        for source in recipe.sources
    ]
    return {
        "name": recipe.name,
        "title": recipe.title,
        "languages": {"source": recipe.source_language, "target": recipe.target_language},
        "family": recipe.family,
        "test_sets": list(recipe.test_sets),
        "offline": offline,
        "sources": sources,
    }


def _build_table(described: list[dict[str, Any]]) -> Table:
    table = Table(box=rich.box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for column in ("name", "languages", "family", "sources", "MB", "licence", "offline"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for model in described:
        sources = model["sources"]
        table.add_row(
            model["name"],
            "{source}-{target}".format(**model["languages"]),
            model["family"],
            ", ".join(source["type"] for source in sources),
            ", ".join(str(source["size_mb"]) for source in sources),
            ", ".join((source["license"] or "unknown") + "*" * bool(source["license_note"]) for source in sources),
            OFFLINE_WORDS[model["offline"]],
        )
    return table


def _license_notes(described: list[dict[str, Any]]) -> list[str]:
    """One line for each source type and note: what the asterisks in the table stand for."""
    notes = {
        f"* {source['license'] or 'unknown'} ({source['type']}): {source['license_note']}": None
        for model in described
        for source in model["sources"]
        if source["license_note"]
    }
    return list(notes)
