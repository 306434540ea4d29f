"""What a verb prints: one JSON object, or a few lines for people."""

from __future__ import annotations

import json
from typing import Any


def show(result: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(result, ensure_ascii=False, default=str), flush=True)


def forecasted(forecast: dict[str, Any]) -> str:
    """A forecast in a few lines."""
    return (
        f"model   {forecast['parameters'] / 1e6:.2f} M parameters, {forecast['precision']}\n"
        f"steps   about {forecast['steps']} of {forecast['batch']} samples, {forecast['epochs']:g} epochs\n"
        f"memory  {forecast['memory_bytes'] / 2**30:.2f} GiB\n"
        f"time    {forecast['seconds'] / 60:.1f} min of training\n"
        f"energy  {forecast['kwh'] * 1000:.1f} Wh ({forecast['kwh_method']})"
    )


def outlook(forecast: dict[str, Any]) -> str:
    """The forecast of a comparison in a few lines."""
    lines = [
        f"{name:10}{one['runs']} runs of about {one['training_s'] / 60:.1f} min, and {one['measuring_s'] / 60:.1f} min "
        "of measuring each"
        for name, one in forecast["recipes"].items()
    ]
    lines.append(f"time      about {forecast['seconds'] / 60:.0f} min in all")
    lines.append(f"energy    {forecast['kwh'] * 1000:.1f} Wh ({forecast['kwh_method']})")
    return "\n".join(lines)


def ranking(said: dict[str, Any]) -> list[str]:
    """A comparison in a few lines: a line a recipe, then the page."""
    first = [said["judged_by"]] if said["judged_by"] else []
    names = dict.fromkeys([*first, "recall", "precision", "coverage", "memorised", "samples_per_second", "kwh"])
    shown = [n for n in names if any(row.get(n, {}).get("value") is not None for row in said["rows"])]
    grid, lost = [["", *shown]], []
    for row in said["rows"]:
        cells = [row["recipe"]]
        for name in shown:
            found = row.get(name) or {"value": None}
            span = f" [{found['low']:.3g}, {found['high']:.3g}]" if found["value"] is not None else ""
            cells.append(f"{found['value']:.3g}{span}" if found["value"] is not None else "-")
        grid.append(cells)
        lost += [f"{row['recipe']}: {why}" for why in row["reasons"]]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in grid]
    return [*lines, *lost, f"page    {said['page']}"]


def scored(said: dict[str, Any]) -> list[str]:
    """Likelihoods: a line a file, then what they are."""
    lines = []
    for item in said["items"]:
        error = (
            "" if item["error"] is None else f"  (log p {item['nats']:.1f} nats, standard error {item['error']:.2f})"
        )
        lines.append(f"{item['bits']:10.4f} {item['per']}  {item['file']}{error}")
    return [*lines, said["says"]]


def logged(said: dict[str, Any]) -> list[str]:
    """Log p of a text, and of each id with the likeliest in its place."""
    rows = []
    for cell in said["tokens"]:
        others = "  ".join(f"{i} {p:.3f}" for i, p in cell["best"])
        rows.append(f"{cell['id']:8} {cell['logprob']:9.3f}  {others}".rstrip())
    return [f"log p {said['sum']:.3f} nats, {len(rows)} tokens", *rows]


def exported(said: dict[str, Any]) -> list[str]:
    """An export and how it compares with its run."""
    p = said["parity"]
    lines = [
        f"wrote   {said['path']}  ({said['format']}, {said['type']}, {said['bytes'] / 2**20:.1f} MiB)",
        f"logits  differ by {p['logits']:.3g} at most (their standard deviation: {p['spread']:.3g})",
        f"text    perplexity {p['export_perplexity']:.4f}, of the run {p['perplexity']:.4f}",
        f"greedy  {p['greedy']} of {p['of']} tokens the same{', ties ' + str(p['ties']) if p['ties'] else ''}",
        "same    tokens, template, end marks",
    ]
    return [*lines, *(f"note    {line}" for line in said["lost"])]


def compressed(said: dict[str, Any]) -> list[str]:
    """A run of fewer bits: how large it is, and what it lost."""
    p, change, size = said["perplexity"], said["perplexity"]["change"], said["bytes"]
    span = "" if change["low"] is None else f"  [{change['low']:+.2f}, {change['high']:+.2f}]"
    now, before = (size[when] / 2**20 for when in ("after", "before"))
    return [
        f"run     {said['run']}",
        f"weights {now:.1f} MiB, {said['bits']} bits ({said['way']}); before: {before:.1f}",
        f"text    perplexity {p['after']:.3f}, before {p['before']:.3f}: {change['value']:+.2f} %{span}",
    ]


def odd(said: dict[str, Any]) -> list[str]:
    """Anomalies: what share of usual items is less odd than each file, how well each score tells, what to know."""
    names = list(said["auroc"])
    lines = ["".join(f"{name:>16}" for name in names) + "  less odd usual items"]
    lines += [
        "".join(f"{item['odder_than'][name]:>16.0%}" for name in names) + f"  {item['file']}" for item in said["items"]
    ]
    lines.append(f"told from {said['usual']['items']} usual items, by AUROC (0.5 is chance):")
    for name, found in said["auroc"].items():
        span = "" if found["low"] is None else f"  [{found['low']:.3f}, {found['high']:.3f}]"
        lines.append(f"  {name:16}{found['value']:.3f}{span}")
    return [*lines, *said["says"]]
