"""What `peers.py` measured: medians, ratios of the same rounds, and which peer was the better one.

In: contenders with their figures, and what each file loses in perplexity if that was measured (`peers_quality.py`).
Out: a row for each contender, which is what the JSON holds, and a printed table. A peer is compared with every edgekit
bundle of as many bits; edgekit with prompt lookup, with the same bundle without.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from peers_processes import FIGURES, Contender

Row = dict[str, Any]
# By `Contender.name`: "percent" and "ci95", as `edgekit.quality.perplexity.PerplexityLoss`.
Losses = Mapping[str, dict[str, Any]]


def summarise(contenders: list[Contender], threads: int, losses: Losses) -> list[Row]:
    """A row for each contender: medians, ranges, its file's loss, and what edgekit's ratio to it is."""
    rows = []
    for contender in contenders:
        row: Row = {
            "engine": contender.engine,
            "version": contender.version,
            "bits": contender.bits,
            "model": contender.model.name,
            "threads": threads,
        }
        row |= {name: spread(contender.rounds[name]) for name in FIGURES}
        if loss := losses.get(contender.name.replace("edgekit-lookup", "edgekit")):
            row["perplexity_loss"] = loss
        if bundles := compared_bundles(contender, contenders):
            row["edgekit_ratios"] = {ours.model.name: ratios(ours, contender) for ours in bundles}
            # Models that were quantised in different ways part at some token; other models part at the first.
            row["leading_ids_as_edgekit"] = {ours.model.name: leading_ids(ours, contender) for ours in bundles}
            if contender.engine == "edgekit-lookup":
                row["ids_as_without_lookup"] = contender.ids == bundles[0].ids
        rows.append(row)
    return rows


def compared_bundles(contender: Contender, contenders: list[Contender]) -> list[Contender]:
    """The edgekit bundles whose ratios to a contender are given; none for such a bundle itself."""
    bundles = [one for one in contenders if one.engine == "edgekit"]
    if contender.engine == "edgekit-lookup":
        return [one for one in bundles if one.model == contender.model]
    return [one for one in bundles if one.bits == contender.bits and contender.engine != "edgekit"]


def ratios(ours: Contender, theirs: Contender) -> dict[str, dict[str, float]]:
    """The spread of each figure of edgekit's by the other's in the same round."""
    pairs = {name: zip(ours.rounds[name], theirs.rounds[name], strict=True) for name in FIGURES}
    return {name: spread([mine / other for mine, other in pairs[name]]) for name in FIGURES}


def leading_ids(ours: Contender, theirs: Contender) -> float:
    """How many new ids both begin with: the rounds' median."""
    pairs = zip(ours.ids, theirs.ids, strict=True)
    return statistics.median(common_length(mine, other) for mine, other in pairs)


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest, to four digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def common_length(one: list[int], other: list[int]) -> int:
    """How many ids both begin with."""
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def print_rows(rows: list[Row]) -> None:
    """One line a row, and for each of edgekit's bundles which peer was the better one."""
    print(f"{'threads':>7} {'bits':>4} {'prefill tok/s':>22} {'decode tok/s':>20} {'% lost':>20}  engine, model")
    for row in rows:
        cells = [f"{row[name]['median']:.1f} [{row[name]['min']:.0f}-{row[name]['max']:.0f}]" for name in FIGURES]
        lost = show_loss(row["perplexity_loss"]) if "perplexity_loss" in row else ""
        name = f"{row['engine']}, {row['model']}"
        print(f"{row['threads']:>7} {row['bits']:>4} {cells[0]:>22} {cells[1]:>20} {lost:>20}  {name}")
        for bundle, found in row.get("edgekit_ratios", {}).items():
            print(
                f"{bundle:>60} / it, prefill and decode: {', '.join(show_ratio(found[figure]) for figure in FIGURES)}"
            )
    for row in rows:
        if row["engine"] == "edgekit":
            for figure in FIGURES:
                print(*better_peers(row, rows, figure), sep="\n")


def better_peers(ours: Row, rows: list[Row], figure: str) -> list[str]:
    """Lines on the better peer by its median: of all, and of those that lose no more where that is another."""
    bundle = ours["model"]
    peers = [
        row
        for row in rows
        if row["threads"] == ours["threads"]
        and row["engine"] != "edgekit-lookup"
        and bundle in row.get("edgekit_ratios", {})
    ]
    if not peers:
        return []
    begin = f"{ours['threads']} threads, {bundle}, {figure}: "
    best = max(peers, key=lambda row: row[figure]["median"])

    def told(peer: Row, which: str) -> str:
        ratio = show_ratio(peer["edgekit_ratios"][bundle][figure])
        return f"{begin}{ratio} of the better peer{which}, {peer['engine']}, {peer['model']}"

    lines = [told(best, "")]
    if "perplexity_loss" in ours:
        fair = [peer for peer in peers if "perplexity_loss" in peer and loses_no_more(peer, ours)]
        if not fair:
            return [*lines, f"{begin}no peer is known to lose as little"]
        if best not in fair:
            lines.append(told(max(fair, key=lambda row: row[figure]["median"]), " that loses no more"))
    return lines


def loses_no_more(peer: Row, ours: Row) -> bool:
    """Whether the intervals leave it possible that a peer's file loses as little as edgekit's, or less."""
    return bool(peer["perplexity_loss"]["ci95"][0] <= ours["perplexity_loss"]["ci95"][1])


def show_ratio(ratio: dict[str, float]) -> str:
    """``1.05 [0.98-1.10]``."""
    return f"{ratio['median']:.2f} [{ratio['min']:.2f}-{ratio['max']:.2f}]"


def show_loss(loss: dict[str, Any]) -> str:
    """``0.27 [0.19, 0.35]``, in per cent."""
    return f"{loss['percent']:.2f} [{loss['ci95'][0]:.2f}, {loss['ci95'][1]:.2f}]"
