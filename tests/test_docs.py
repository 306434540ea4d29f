"""The documentation says what is: its commands parse, its links lead somewhere, its examples run, its papers are those
of the code.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import genus
from genus.cli import app
from genus.cli.ends import ASKED_WRONGLY

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ARXIV = re.compile(r"\b(\d{4}\.\d{5})\b")


def named(pages: list[Path]) -> list[Any]:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def commands(page: Path) -> Iterator[str]:
    """Lines of shell: indented or fenced ones that begin with a program of ours."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"(    |\$ )?(genus|make) \w", line) and not line.startswith(("genus", "make")):
            yield line.strip().removeprefix("$ ")


def parsed(line: str) -> str:
    """Parses a `genus` line without running it: the verb's name. Raises the parser's errors."""
    words = shlex.split(line)[1:]
    group: Any = typer.main.get_command(app)
    context = group.make_context("genus", words[:1])
    name, command, _ = group.resolve_command(context, words[:1])
    command.make_context(name, words[1:], parent=context)
    return str(name)


@pytest.mark.parametrize("page", named(PAGES))
def test_every_command_parses(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(page):
        if line.startswith("make "):
            assert {w for w in line.split()[1:] if "=" not in w} <= targets, f"{page.name}: {line}"
            continue
        try:
            parsed(line)
        except ASKED_WRONGLY as error:
            pytest.fail(f"{page.name}: {line}: {error.format_message()}")


def test_a_wrong_command_would_be_seen() -> None:
    for line in (
        "genus mak letters/",
        "genus make letters/ --bugdet 10m",
        "genus generate",
        "genus serve x --port many",
    ):
        with pytest.raises(ASKED_WRONGLY):
            parsed(line)


def test_the_readme_shows_the_main_commands() -> None:
    shown = [line.split()[1] for line in commands(ROOT / "README.md")]
    assert {"demo", "test", "make", "generate", "serve"} <= set(shown)


def test_every_verb_is_explained() -> None:
    group: Any = typer.main.get_command(app)
    verbs = set(group.commands)
    explained = {parsed(line) for line in commands(ROOT / "docs/use.md") if line.startswith("genus")}
    assert explained == verbs


@pytest.mark.parametrize("page", named(PAGES))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path = (page.parent / target.partition("#")[0]).resolve()
            assert path.exists() and path.is_relative_to(ROOT), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", named(PAGES))
def test_python_blocks_are_python(page: Path) -> None:
    for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(code)


def test_public_names_in_the_docs_exist() -> None:
    said = set(re.findall(r"\bgenus\.([A-Za-z_]+)\(", "".join(page.read_text() for page in PAGES)))
    assert said and said <= set(genus.__all__)


def cited() -> dict[str, set[str]]:
    """arXiv number -> the source files that cite it."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for room in ("src", "proofs") for path in (ROOT / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for number in re.findall(r"arXiv\s+(\d{4}\.\d{5})", text):
            found.setdefault(number, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_papers_are_those_of_the_code() -> None:
    rows = [line for line in (ROOT / "docs/papers.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    listed = {number: row for row in rows for number in ARXIV.findall(row)}
    found = cited()
    assert set(listed) == set(found), "docs/papers.md and the citations in src and proofs differ"
    for number, row in listed.items():
        linked = {target.removeprefix("../") for target in re.findall(r"\]\(([^)]+)\)", row)}
        assert linked == found[number], f"arXiv {number} is cited in {found[number]}, docs/papers.md links {linked}"


def test_the_changelog_has_the_version_or_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{genus.__version__}]" in text


def example(name: str) -> ModuleType:
    """A program outside of the package, as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_worked_example_of_a_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of docs/recipes.md, as they stand there: listed, trained, judged, asked for a digit."""
    import genus.codecs
    import genus.recipes
    from genus.recipes import names

    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    files = re.findall(r"<!-- file: src/genus/(\S+) -->\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [path for path, _ in files] == ["codecs/palette.py", "recipes/imagegpt.py"]
    for path, code in files:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    for room in (genus.codecs, genus.recipes):
        place = str(tmp_path / room.__name__.rpartition(".")[2])
        monkeypatch.setattr(room, "__path__", [*room.__path__, place])
    assert "imagegpt" in names()

    example("examples/demo.py").digits(tmp_path / "digits", 600)
    small = ("net.depth=1", "net.width=32", "net.head=16", "training.batch=8", "training.evaluations=1")
    few = ("measures.fidelity.samples=20", "measures.nearest.samples=20", "measures.samples.pictures=4")
    made = genus.make(tmp_path / "digits", "imagegpt", "12 steps", home=tmp_path / "home", settings=[*small, *few])
    report = json.loads((made.run / "report.json").read_text())
    found = {metric["name"]: metric["value"] for metric in report["metrics"]}
    assert 0 < found["bits_per_code"] < 4.1, "seventeen greys cost 4.1 bits before anything is learned"
    run = genus.load(made.run)
    (seven,) = run.generate("7", n=1, seed=3)
    assert seven.shape == (8, 8, 1)
    assert set(seven.ravel().tolist()) <= {round((grey + 1) * 127.5) for (grey,) in run.phase.codec.colours}
    assert (run.generate("7", n=2, seed=3)[0] == seven).all()


def test_the_demo_reads_a_report(tmp_path: Path) -> None:
    demo = example("examples/demo.py")

    def entry(name: str, value: float) -> dict[str, Any]:
        return {"name": name, "value": value, "low": value - 0.1, "high": value + 0.1, "unit": "", "better": "lower"}

    report = {
        "metrics": [entry("bits_per_byte", 1.5), entry("longest_copy", 9.0)],
        "baselines": [entry("bits_per_byte/xz", 2.5)],
        "budget": {"asked_s": 60.0, "forecast_s": 60.0, "used_s": 61.0},
        "energy": {"kwh": 0.0003, "method": "assumed"},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    said = "\n".join(demo.figures(tmp_path))
    assert "bits_per_byte 1.5 [1.4, 1.6]" in said and "xz 2.5" in said and "0.3 Wh" in said and "longest" not in said


def test_results_are_written_from_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/results.md is what its files give, and a missed bar is shown as one."""
    monkeypatch.syspath_prepend(str(ROOT / "proofs"))
    results = example("proofs/write_results.py")
    assert (ROOT / "docs/results.md").read_text(encoding="utf-8") == results.page(results.read(ROOT / "docs/results"))
    rows = [
        {"metric": "speed", "value": value, "low": 1.0, "high": 3.0, "bar": bar, "baseline": "peer 1", "unit": "x"}
        for value, bar in itertools.product((2.0, None), (">= 1.8", ">= 2.5", None))
    ]
    result = {
        "name": "toy",
        "command": "python toy.py",
        "machine": "m",
        "date": "2026-01-01",
        "seconds": 60,
        "rows": rows,
    }
    said = results.page([result])
    assert "Bars met: 1 of 4." in said and said.count("**not met**") == 3 and "bar >= 2.5 (toy)" in said
