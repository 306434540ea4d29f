"""One file per named system, declarative: `recipes/gpt.py` says `RECIPE = Recipe(name="gpt", ...)`. A new system is a
new file.

Here: finding them by name, and settings that override a field by its path.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

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
    """The recipe with `path=value` settings applied, values as JSON or else as text.

    A path is a field of the recipe (`gate.copies`, `clean.near_duplicates.threshold`, `measures.fidelity.samples`),
    or of its last phase (`training.rate`, `net.width`, `objective.z_loss`), or of a named phase (`prior.net.depth`). A
    network
    whose fields are set is no longer sized by the budget. Raises `UsageError` that says which part had no such field.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys) or len(keys) < 2:
            raise UsageError(f"--set {setting!r} is not understood; write part.field=value, e.g. training.rate=0.002")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        recipe = _in_recipe(recipe, keys, value, setting)
    return recipe


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


def _in_recipe(recipe: Recipe, keys: Sequence[str], value: Any, setting: str) -> Recipe:
    if keys[0] == "clean" and not recipe.clean:
        from genus.clean import usual

        recipe = recipe.but(clean=usual(recipe.media[0]))
    if keys[0] in Recipe.model_fields and keys[0] != "phases":
        changed: Recipe = _set(recipe, keys, value, setting)
        return changed
    phases = {phase.name: phase for phase in recipe.phases}
    name = keys[0] if keys[0] in phases else recipe.phases[-1].name
    inside = keys[1:] if keys[0] in phases else keys
    phase = phases[name]
    if inside[0] in phase.nets:
        inside = ["nets", *inside]
    phase = _set(phase, inside, value, setting)
    if inside[0] == "nets" and phase.sizing is not None:
        phase = _set(phase, ["sizing", "dials"], (), setting)
    if inside == ["training", "batch"] and phase.sizing is not None:  # what was asked for is not sized either
        phase = _set(phase, ["sizing", "batch"], (value, value), setting)
    phases[name] = phase
    return recipe.but(phases=tuple(phases.values()))


def _set(at: Any, keys: Sequence[str], value: Any, setting: str) -> Any:
    """`at` rebuilt with one leaf changed."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(at, Part):
        if key not in type(at).model_fields or key == "kind":
            have = ", ".join(sorted(set(type(at).model_fields) - {"kind"})) or "none"
            raise UsageError(f"--set {setting!r}: {at.kind} has no {key!r}; it has: {have}")
        return at.but(**{key: _set(getattr(at, key), rest, value, setting)})
    if isinstance(at, Mapping) and key in at:
        return {**at, key: _set(at[key], rest, value, setting)}
    if isinstance(at, tuple) and rest and all(isinstance(part, Part) for part in at):
        named = {getattr(part, "name", None) or part.kind.rsplit(".", 1)[-1]: i for i, part in enumerate(at)}
        if key in named:
            return tuple(_set(p, rest, value, setting) if i == named[key] else p for i, p in enumerate(at))
        raise UsageError(f"--set {setting!r}: there is no {key!r} among: {', '.join(named)}")
    have = f"it has: {', '.join(at)}" if isinstance(at, Mapping) else "it has no fields"
    raise UsageError(f"--set {setting!r}: there is no {key!r}; {have}")


def describe(recipe: Recipe) -> dict[str, Any]:
    """A line for `genus recipes`."""
    said = {"name": recipe.name, "family": recipe.family, "media": list(recipe.media), "about": recipe.about}
    return {**said, "phases": [phase.name for phase in recipe.phases]}


__all__ = ["USUAL", "Phase", "describe", "find", "names", "with_codec", "with_settings"]
