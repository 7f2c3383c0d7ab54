"""`edgekit models`: the recipes and their use, what their sources weigh, their licences, and what works offline."""

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
ABOUT = "~ about: of these sources size and licence are not checked; what their own page says is what counts"
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

    Where a model has several sources, they are tried in the order shown; sizes and licences follow that order. The use
    is a translation's pair of languages (or many), text to text, chat, or text: a model that only continues what it is
    given. Any repository on the Hugging Face hub (org/name) of one of these families, any such local checkpoint and any
    GGUF file of one can be exported too.

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
    for line in (*_license_notes(described), ABOUT):
        console.print(line, soft_wrap=True)


def _describe(recipe: Recipe, offline: str | None) -> dict[str, Any]:
    sources = [
        {
            "type": source.type,
            "id": source.id,
            "size_mb": source.size_mb,
            "license": source.license,
            "license_note": source.license_note,
            "checked": source.is_checked,
        }
        for source in recipe.sources
    ]
    return {
        "name": recipe.name,
        "title": recipe.title,
        "task": recipe.task,
        "chat": recipe.chat,
        "languages": {"source": recipe.source_language, "target": recipe.target_language},
        "family": recipe.family,
        "test_sets": list(recipe.test_sets),
        "offline": offline,
        "sources": sources,
    }


def _build_table(described: list[dict[str, Any]]) -> Table:
    table = Table(box=rich.box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for column in ("name", "use", "family", "sources", "MB", "licence", "offline"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for model in described:
        sources = model["sources"]
        table.add_row(
            model["name"],
            _use(model),
            model["family"],
            ", ".join(source["type"] for source in sources),
            ", ".join("~" * (not source["checked"]) + str(source["size_mb"]) for source in sources),
            ", ".join((source["license"] or "unknown") + "*" * bool(source["license_note"]) for source in sources),
            OFFLINE_WORDS[model["offline"]],
        )
    return table


def _use(model: dict[str, Any]) -> str:
    if model["languages"]["source"] is not None:
        return "{source}-{target}".format(**model["languages"])
    if model["task"] != "text-generation":
        return "many languages" if model["task"] == "translation" else "text to text"
    return "chat" if model["chat"] else "text"


def _license_notes(described: list[dict[str, Any]]) -> list[str]:
    """One line for each source type and note: what the asterisks in the table stand for."""
    notes = {
        f"* {source['license'] or 'unknown'} ({source['type']}): {source['license_note']}": None
        for model in described
        for source in model["sources"]
        if source["license_note"]
    }
    return list(notes)
