"""One file per named system, declarative: `recipes/gpt.py` says `RECIPE = Recipe(name="gpt", ...)`. A new system is a
new file.

Here: finding them by name, and settings that override a field by its path.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from genus.data.source import SourceConfig
from genus.errors import UsageError
from genus.learned.codec import LearnedConfig
from genus.parts import Part
from genus.recipe import Phase, Recipe

#: What a medium is learned with when no recipe is named.
USUAL = {"text": "gpt", "code": "gpt", "image": "flow"}


def names() -> list[str]:
    """Of all recipes, in order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Recipe:
    """The recipe of this name. Raises `UsageError` that lists what there is."""
    if name not in names():
        close = get_close_matches(name, names(), 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(f"there is no recipe {name!r}{hint}; there are: {', '.join(names())}")
    recipe: Recipe = import_module(f"genus.recipes.{name.replace('-', '_')}").RECIPE
    return recipe


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with `path=value` settings applied together, values as JSON or else as text.

    A path is a field of the recipe (`gate.copies`, `clean.near_duplicates.threshold`, `measures.fidelity.samples`),
    or of its last phase (`training.rate`, `net.width`, `objective.z_loss`), or of a named phase (`prior.net.depth`). A
    network whose fields are set is no longer sized by the budget. Of two settings of one path the later holds. Raises
    `UsageError` that says which part had no such field.
    """
    tree: Tree = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys) or len(keys) < 2:
            raise UsageError(f"--set {setting!r} is not understood; write part.field=value, e.g. training.rate=0.002")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if keys[0] == "clean" and not recipe.clean:
            from genus.clean import usual

            recipe = recipe.but(clean=usual(recipe.media[0]))
        for path_to, meant in _meant(recipe, keys, value):
            _graft(tree, path_to, meant, setting)
    changed: Recipe = _changed(recipe, tree)
    return changed


def with_codec(recipe: Recipe, run: Path) -> Recipe:
    """The recipe on the codec that a run trained, without the phases that would train one.

    run: a run of one phase that is an autoencoder, or one that holds a codec. Raises `UsageError` where there is none.
    """
    learned = {p.codec.phase for p in recipe.phases if isinstance(p.codec, LearnedConfig)}
    if not learned:
        raise UsageError(f"recipe {recipe.name} learns no codec, so it cannot take one from {run}; leave --codec out")
    place = run / "codec" if (run / "codec" / "config.json").is_file() else run
    if not (place / "config.json").is_file():
        raise UsageError(f"{run} has no trained codec; name a run that has finished training")
    phases = [
        p.but(codec=p.codec.but(place=str(place))) if isinstance(p.codec, LearnedConfig) else p
        for p in recipe.phases
        if p.name not in learned
    ]
    return recipe.but(phases=tuple(phases))


def with_start(recipe: Recipe, run: Path) -> Recipe:
    """The recipe's last phase alone, begun from the model of a run instead of an earlier phase's.

    A recipe that would begin anew goes on from that model; one that learns from a teacher begins anew and takes it as
    that. Raises `UsageError` if the run has none.
    """
    if not (run / "config.json").is_file():
        raise UsageError(f"{run} has no trained model to go on from; name a run that has finished training")
    last = recipe.phases[-1]
    teacher = last.source.teacher if isinstance(last.source, SourceConfig) else None
    if teacher is not None and last.start is None:
        return recipe.but(phases=(last.but(share=1.0),), given={teacher: str(run.absolute())})
    name = last.start or "before"
    return recipe.but(phases=(last.but(start=name, share=1.0),), given={name: str(run.absolute())})


def with_given(recipe: Recipe, runs: Mapping[str, Path]) -> Recipe:
    """The recipe with models of runs in place of earlier phases of these names. Those are not trained, nor are any
    that were there for them alone.

    Raises `UsageError` for a name that no part of it asks for, and for a run that has no model.
    """
    for run in runs.values():
        if not (run / "config.json").is_file():
            raise UsageError(f"{run} has no trained model to take; name a run that has finished training")
    given = {**recipe.given, **{name: str(run.absolute()) for name, run in runs.items()}}
    said = recipe.model_dump(mode="json")
    kept, wanted = [recipe.phases[-1]], {*_wanted(said["phases"][-1]), *_wanted(said["measures"])}
    for phase, parts in list(zip(recipe.phases, said["phases"], strict=True))[-2::-1]:
        if phase.name in wanted and phase.name not in given:
            kept.insert(0, phase)
            wanted |= set(_wanted(parts))
    for name in runs:
        if name not in wanted:
            known = ", ".join(sorted(wanted)) or "none"
            raise UsageError(f"recipe {recipe.name} takes no model of a phase {name!r}; it takes those of: {known}")
    return recipe.but(phases=tuple(kept), given=given)


def _wanted(said: Any) -> Iterator[str]:
    """Names of the phases whose models a part uses, from its JSON."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            if key in ("start", "phase") and isinstance(value, str):
                yield value
            yield from _wanted(value)
    elif isinstance(said, list):
        for value in said:
            yield from _wanted(value)


#: What settings change: a node for each field on the way, and at its end (value, setting).
Tree = dict[str, "Tree | tuple[Any, str]"]


def _meant(recipe: Recipe, keys: Sequence[str], value: Any) -> Iterator[tuple[list[str], Any]]:
    """The fields that a setting changes, from the recipe down, with their values."""
    if keys[0] in Recipe.model_fields and keys[0] != "phases":
        yield list(keys), value
        return
    phases = {phase.name: phase for phase in recipe.phases}
    phase = phases.get(keys[0], recipe.phases[-1])
    inside = list(keys[1:] if keys[0] in phases else keys)
    if inside[0] in phase.nets:
        inside = ["nets", *inside]
    yield ["phases", phase.name, *inside], value
    if phase.sizing is not None:  # what was asked for is not sized
        if inside[0] == "nets":
            yield ["phases", phase.name, "sizing", "dials"], ()
        if inside == ["training", "batch"]:
            yield ["phases", phase.name, "sizing", "batch"], (value, value)


def _graft(tree: Tree, keys: Sequence[str], value: Any, setting: str) -> None:
    """A change into the tree; what stands in its way goes, except that a part which is replaced whole is not sized."""
    for key in keys[:-1]:
        node = tree.setdefault(key, {})
        if not isinstance(node, dict):
            if node[0] is None and key == "sizing":
                return
            raise UsageError(f"--set {setting!r}: {node[1]!r} replaces all of {key!r}; give one of the two")
        tree = node
    tree[keys[-1]] = (value, setting)


def _changed(at: Any, tree: Tree) -> Any:
    """`at` rebuilt with every leaf of the tree at once, so that fields which must agree may be set one by one."""
    found: dict[str, Any] = {}
    for key, node in tree.items():
        said = _setting(node)
        if isinstance(at, Part):
            if key not in type(at).model_fields or key == "kind":
                have = ", ".join(sorted(set(type(at).model_fields) - {"kind"})) or "none"
                raise UsageError(f"--set {said!r}: {at.kind} has no {key!r}; it has: {have}{_instead(said)}")
            inner = getattr(at, key)
        elif isinstance(at, Mapping) and key in at:
            inner = at[key]
        elif isinstance(at, tuple) and isinstance(node, dict) and all(isinstance(part, Part) for part in at):
            inner = next((part for part in at if _called(part) == key), None)
            if inner is None:
                raise UsageError(f"--set {said!r}: there is no {key!r} among: {', '.join(map(_called, at))}")
        else:
            have = f"it has: {', '.join(at)}" if isinstance(at, Mapping) else "it has no fields"
            raise UsageError(f"--set {said!r}: there is no {key!r}; {have}")
        found[key] = _changed(inner, node) if isinstance(node, dict) else node[0]
    if isinstance(at, Part):
        return at.but(**found)
    return {**at, **found} if isinstance(at, Mapping) else tuple(found.get(_called(part), part) for part in at)


def _instead(said: str) -> str:
    """How another part is put in the place of one whose kind a setting would change; empty for other settings."""
    path, _, kind = said.partition("=")
    place = path.strip().removesuffix(".kind")
    return f"; for another part in its place write {place}={kind}" if "." in place and place != path.strip() else ""


def _setting(node: Tree | tuple[Any, str]) -> str:
    """The first setting under a node: what an error names."""
    while isinstance(node, dict):
        node = next(iter(node.values()))
    return node[1]


def _called(part: Part) -> str:
    """How a setting names one of several parts."""
    return str(getattr(part, "name", None) or part.kind.rsplit(".", 1)[-1])


def describe(recipe: Recipe) -> dict[str, Any]:
    """A line for `genus recipes`."""
    said = {"name": recipe.name, "family": recipe.family, "media": list(recipe.media), "about": recipe.about}
    return {**said, "phases": [phase.name for phase in recipe.phases]}


__all__ = ["USUAL", "Phase", "describe", "find", "names", "with_codec", "with_given", "with_settings", "with_start"]
