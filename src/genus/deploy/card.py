"""The model card: what a model is, what it was made from, how good it is, where it ends, and how to call it.

After Mitchell et al. 2019, Model cards for model reporting (arXiv 1810.03993). Every figure is read from the run;
nothing is judged here. The head is the YAML that model hubs read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genus.core import Embedder
from genus.provenance.manifest import Maker
from genus.run import Run

LIMITS = (
    "It repeats what its data holds, errors and prejudices among it; nothing it makes is a fact.",
    "It was judged on held-out items of the same data. What it does with anything else was not measured.",
    "Its data was filtered by rules. What they miss (personal data, damage, copies) it may have learned.",
    "What it makes carries no signature and no watermark; the manifest beside a file says how it was made, and proves "
    "no authorship.",
)


def write(run: Run, by: Maker, report: Mapping[str, Any], objections: Sequence[str], when: str) -> str:
    """The card as Markdown. report: of validate, {} if there is none; objections: the gate's, overridden by force."""
    parts = [
        _head(run),
        f"# {run.name}\n\n{run.recipe.about.strip()}",
        _warning(objections),
        _facts(run, by, when),
        _data(run),
        _figures(report, bool(objections)),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in LIMITS),
        _calls(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    licences = [name for name in _licences(run) if name != UNSTATED]
    said = {"library_name": "genus", "tags": [run.recipe.family, run.medium, run.recipe.name]}
    more = {"license": "other", "license_name": ", ".join(licences)} if licences else {}
    lines = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in {**said, **more}.items())
    return f"---\n{lines}\n---"


def _warning(objections: Sequence[str]) -> str:
    if not objections:
        return ""
    reasons = "\n".join(f"> - {line}" for line in map(_line, objections))
    return f"> **Published against the gate.** It did not pass, and was overridden by `--force`:\n>\n{reasons}"


def _facts(run: Run, by: Maker, when: str) -> str:
    summary = run.summary
    rows = [
        ("recipe", f"{run.recipe.name} ({run.recipe.family})"),
        ("makes", run.medium),
        ("parameters", _number(summary.get("params"))),
        ("training steps", _number(summary.get("steps"))),
        ("training time", _unit(summary.get("seconds"), "s")),
        ("energy", _unit(summary.get("kwh"), f"kWh ({summary.get('kwh_method') or 'method not stated'})")),
        ("peak memory", _unit(_over(summary.get("peak_bytes"), 1 << 20), "MiB")),
        ("weights, sha256", f"`{by.weights_sha256}`"),
        ("published", f"{when}, genus {by.genus}, torch {by.torch}"),
    ]
    return "## What it is\n\n" + _table(("", ""), [row for row in rows if row[1]])


UNSTATED = "not stated"


def _licences(run: Run) -> dict[str, int | None]:
    """Licence -> items, as far as the run recorded them."""
    found = run.data.get("licences") or {}
    counted = dict(found) if isinstance(found, Mapping) else dict.fromkeys(found)
    return {str(name) if name not in (None, "", "null") else UNSTATED: n for name, n in counted.items()}


def _data(run: Run) -> str:
    data = run.data
    rows = [
        ("dataset", f"`{data['path']}`, version {data.get('version')}" if data.get("path") else ""),
        ("weights made by", _line(str((data.get("origin") or {}).get("name") or ""))),
        ("digest", f"`{data['digest']}`" if data.get("digest") else ""),
        ("items", _number(data.get("items"))),
        ("bytes", _number(data.get("bytes"))),
    ]
    licences = _licences(run) or {UNSTATED: None}
    said = "\n".join(f"- {_line(name)}{'' if n is None else f': {_number(n)} items'}" for name, n in licences.items())
    if UNSTATED in licences:
        said += "\n\nWhere no licence is stated, whether this data may be used so is for its user to know."
    return f"## Data\n\n{_table(('', ''), [row for row in rows if row[1]])}\n\nLicences:\n\n{said}"


def _figures(report: Mapping[str, Any], against: bool) -> str:
    if not report:
        return "## Figures\n\nThis model was never validated: there are none."
    rows = [
        (
            _line(str(row.get("name"))) + (" (baseline)" if base else ""),
            _figure(row),
            _line(str(row.get("unit") or "")),
            {"lower": "lower is better", "higher": "higher is better"}.get(str(row.get("better")), ""),
            _line(str(row.get("split") or "")),
        )
        for base, name in ((False, "metrics"), (True, "baselines"))
        for row in report.get(name) or ()
    ]
    gate = "The gate did not pass." if against else "The gate passed."
    return f"## Figures\n\n{_table(('measure', 'value', 'unit', '', 'split'), rows)}\n\n{gate} Details: `report.html`."


def _figure(row: Mapping[str, Any]) -> str:
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    return _number(value) + (f" [{_number(low)}, {_number(high)}]" if low is not None and high is not None else "")


def _calls(run: Run) -> str:
    prompted = run.recipe.prompt != "none"
    prompt = ' "PROMPT"' if prompted else ""
    name = json.dumps(run.name)
    if isinstance(run.model().predictor()[0], Embedder):
        lines = ["import genus", "", f"run = genus.load({json.dumps(f'runs/{run.name}')})"]
        lines += ['fit = run.embed_texts(["PROMPT", "ANOTHER"]) @ run.embed(PICTURES).T  # cosines, [texts, pictures]']
        code = "\n".join(lines)
        return f"## How to call it\n\nIt compares and draws nothing.\n\n```python\n{code}\n```"
    said = '"PROMPT"' if prompted else '""'
    lines = ["import openai", "", 'client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")']
    if run.model().codec.streams:
        lines += [
            f"answer = client.completions.create(model={name}, prompt={said}, max_tokens=200)",
            "print(answer.choices[0].text)",
        ]
    else:
        lines[:1] = ["import base64", "import pathlib", "", "import openai"]
        lines += [
            f"answer = client.images.generate(model={name}, prompt={said})",
            'pathlib.Path("made.png").write_bytes(base64.b64decode(answer.data[0].b64_json))',
        ]
    shell = f"genus generate {run.name}{prompt} -n 4 --seed 0\ngenus serve {run.name}"
    code = "\n".join(lines)
    return f"## How to call it\n\n```sh\n{shell}\n```\n\n```python\n{code}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _line(text: str) -> str:
    """One line that cannot become markup."""
    return " ".join(text.split()).replace("<", "&lt;")


def _over(value: Any, unit: int) -> float | None:
    return value / unit if isinstance(value, int | float) else None


def _unit(value: Any, unit: str) -> str:
    return f"{_number(value)} {unit}" if isinstance(value, int | float) else ""


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return (
        f"{value:,}" if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15) else f"{value:,.4g}"
    )
