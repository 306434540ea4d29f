"""Configurations: frozen, validated, named by `kind`, stored as JSON. Imports no torch.

A *part* is anything a recipe can name. Its `kind` is `room.file` (or `room.file.name` where a file holds several),
so a configuration found in a run's folder leads to exactly one module of this package, and reading one never
executes stored code. A new part is a new file: there is no list of parts to edit.

    class TransformerConfig(NetworkConfig):
        kind: Literal["networks.transformer"] = "networks.transformer"
        width: int = 384
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny, ValidationError

from genus.errors import GenusError, UsageError

ROOMS = (
    "codecs",
    "learned",
    "networks",
    "objectives",
    "samplers",
    "conditions",
    "data",
    "rewards",
    "clean",
    "train",
    "validate",
    "tasks",
    "recipes",
)
SURPLUS = "extra_forbidden"  # pydantic's word for a field that a class does not have
_KIND = re.compile(rf"({'|'.join(ROOMS)})\.([a-z][a-z0-9_]*)(\.[a-z][a-z0-9_]*)?")


P = TypeVar("P", bound="Part")


class Unknown(UsageError):
    """A part, or a field of one, that this version of genus does not have."""


class Part(BaseModel):
    """A frozen configuration. Unknown fields are errors; `kind` says which class reads it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False, allow_inf_nan=False
    )

    kind: str
    known: ClassVar[dict[str, type[Part]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str):
            other = Part.known.setdefault(kind, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"two parts call themselves {kind!r}: {other.__qualname__} and {cls.__qualname__}")

    def but(self, **changes: Any) -> Self:
        """A validated copy with some fields changed. Raises `UsageError` that names a field it does not have."""
        unknown = sorted(set(changes) - set(type(self).model_fields))
        if unknown:
            have = ", ".join(sorted(set(type(self).model_fields) - {"kind"})) or "none"
            raise UsageError(f"{self.kind} has no {', '.join(map(repr, unknown))}; it has: {have}")
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return type(self)(**{**fields, **changes})
        except ValidationError as error:
            raise UsageError(plain(error, self.kind)) from None


def parse(data: Any) -> Any:
    """A dictionary with a `kind` becomes the part it names, a kind alone the part as it comes; else: as it is.

    Raises `UsageError` for a kind that is not a part of this package.
    """
    if isinstance(data, str) and _KIND.fullmatch(data):
        data = {"kind": data}
    if not isinstance(data, dict) or "kind" not in data:
        return data
    kind = data["kind"]
    if not isinstance(kind, str) or kind not in Part.known:
        match = _KIND.fullmatch(kind) if isinstance(kind, str) else None
        if match is None:
            raise UsageError(f"{kind!r} is not a kind of part; kinds read like 'networks.transformer'")
        module = f"genus.{match[1]}.{match[2]}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        if kind not in Part.known:
            raise Unknown(f"this version of genus has no part {kind!r}")
    try:
        return Part.known[kind].model_validate(data)
    except ValidationError as error:
        raise (Unknown if _surplus(error) else UsageError)(plain(error, kind)) from None


def restored(cls: type[P], data: Any, path: Path) -> P:
    """The `cls` that a file holds. Raises `GenusError` if it holds something else, or what another version wrote."""
    try:
        return cls.model_validate(data)
    except Unknown as error:
        raise _of_another_version(str(error), path) from None
    except UsageError as error:
        raise GenusError(f"{path} is damaged: {error}") from None
    except ValidationError as error:
        said = plain(error, cls.__name__)
        raise (
            _of_another_version(said, path) if _surplus(error) else GenusError(f"{path} is damaged: {said}")
        ) from None


def plain(error: ValidationError, where: str) -> str:
    """A validation error as one readable sentence a field."""
    return f"{where}: " + "; ".join(_sentence(e) for e in error.errors())


def _sentence(error: Any) -> str:
    if error["type"] == "value_error":  # our own words, which name what was wrong
        said = str(error["ctx"]["error"])
    else:
        said = "there is no such field" if error["type"] == SURPLUS else error["msg"].lower()
    field = ".".join(map(str, error["loc"]))
    return f"{field} = {error.get('input')!r}: {said}" if field else said


def _surplus(error: ValidationError) -> bool:
    return any(e["type"] == SURPLUS for e in error.errors())


def _of_another_version(said: str, path: Path) -> GenusError:
    """What is wrong with a file of a run, who wrote it (environment.json of the run, if it tells), and the remedy."""
    from genus import __version__

    made = "by a version that it does not name"
    for folder in list(path.parents)[:3]:  # a run's own files, and those of its phases and its codec
        try:
            made = f"by genus {json.loads((folder / 'environment.json').read_text())['versions']['genus']}"
            break
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return GenusError(
        f"{path} was written {made}, and this is genus {__version__}, which does not know all of it: {said}; use the "
        "genus that wrote it, or train the run again with this one"
    )


#: A field that holds some part: `codec: Any_[CodecConfig]`. Stored with all its own fields, read back as itself.
Any_ = Annotated[SerializeAsAny[P], BeforeValidator(parse)]
