"""Every item of a folder, archive, table or file, in one order, with what is known of it. Decides nothing about items.

What cannot be an item comes out as a finding with its reason. Not here: whether an image is whole, is known already or
may be used (`genus.collect.stage`), so that nothing is decoded twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from genus import dialogue
from genus.collect import archives, cut, licences, limits, optouts, sidecars, tables, walk
from genus.collect.limits import USUAL, Bad, Limits
from genus.collect.sidecars import NOTHING, Said
from genus.collect.walk import File, readable
from genus.dialogue import Message
from genus.media import HEAD, Damaged, sniff, text


@final
@dataclass(frozen=True)
class Found:
    """One thing met. content None: unusable, for `reason`; refusal: the owner's, not damage.

    spent: bytes of input it took, for the progress. xmp: of the file beside it.
    """

    origin: str
    medium: str | None = None
    content: bytes | None = None
    said: Said = NOTHING
    reason: str | None = None
    detail: str = ""
    refusal: bool = False
    size: int = 0
    spent: int = 0
    xmp: bytes = b""
    notes: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Place:
    """Where one is: what holds for everything here.

    root: the real folder that nothing leaves; parts: folders below it. scratch: where archives are unpacked. named:
    columns by role. licence: the user's word, over any LICENSE file. prefix: of origins (`a.zip!`). said, rules,
    metadata: of this folder and those above (a table stands with the depth of its folder). classes: the parts that
    class folders share.
    """

    root: Path
    scratch: Path
    bounds: Limits = USUAL
    named: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    prefix: str = ""
    parts: tuple[str, ...] = ()
    said: Said = NOTHING
    rules: tuple[optouts.Rule, ...] = ()
    metadata: tuple[tuple[int, Mapping[str, Said]], ...] = ()
    classes: tuple[str, ...] | None = None
    budget: archives.Budget | None = None
    nesting: int = 0
    linked: bool = False

    def origin(self, name: str) -> str:
        """The origin of a file of this folder."""
        return self.prefix + readable("/".join((*self.parts, name)) if name else "/".join(self.parts) + "/")


def tree(place: Place) -> Iterator[Found]:
    """Everything below a root."""
    yield from folder(replace(place, classes=sidecars.class_folders(place.root)), place.root)


def above(root: Path) -> tuple[optouts.Rule, ...]:
    """What the folders above a root state about it."""
    real = root.resolve()
    found: list[optouts.Rule] = []
    for parent in real.parents:
        stated = optouts.rules(parent, (), (".nogenus", "tdmrep.json", ".well-known"))
        found += [replace(rule, lead=real.relative_to(parent).parts) for rule in stated]
    return tuple(found)


def folder(
    place: Place, path: Path, only: str | None = None, beside: AbstractSet[str] = frozenset()
) -> Iterator[Found]:
    """One folder: its files, then its folders; or `only` the file of this name, and what is said of it.

    beside: the names of this folder that were named with it.
    """
    here = walk.listing(path, place.root.resolve(), place.linked)
    if only is not None:
        here.bad = [bad for bad in here.bad if bad[0] == only]
    place = _stated(place, path, here)
    for name, reason, detail in here.bad:
        yield Found(place.origin(name), reason=reason, detail=detail)
    notes = sidecars.captions(here)
    table, table_name = sidecars.metadata(here, place.named, place.bounds)
    if table:
        place = replace(place, metadata=(*place.metadata, (len(place.parts), table)))
    hugging_face = bool(here.names & sidecars.HUGGING_FACE)
    about = sidecars.documents(here, place.classes is not None)
    aside = {note.name for note in notes.values()} | {table_name} | about
    names = [file.name for file in here.files]
    asked = names if only is None else beside
    for file in here.files:
        if only is not None and file.name != only:
            continue
        if file.name in aside or file.name == "tdmrep.json" or licences.is_licence_file(file.name):
            continue
        if hugging_face and file.name in sidecars.HUGGING_FACE:
            continue
        if file.name.lower().endswith(".xmp") and len(names) > 1:
            continue
        said = _of_file(place, file, notes.get(file.name))
        yield from one(replace(place, said=sidecars.declare(said, file.name, asked, False)), file)
    folders = [name for name, _ in here.folders]
    for name, below in here.folders if only is None else ():
        if len(place.parts) >= place.bounds.depth:
            yield Found(place.origin(name), reason=limits.NESTED, detail=f"more than {place.bounds.depth} folders deep")
            continue
        inside = replace(
            place,
            parts=(*place.parts, name),
            said=sidecars.declare(place.said, name, folders, True),
            linked=place.linked or below.is_symlink(),
        )
        yield from folder(inside, below)


def _stated(place: Place, path: Path, here: walk.Listing) -> Place:
    """The place, with what this folder's own files say about licence and use."""
    licence = licences.of_folder(here.files)
    for file in here.files:
        if licence is None and file.name.lower() == "readme.md":
            licence = licences.in_card(_head(file.path).decode("utf-8", "replace")) or None
    rules = place.rules + optouts.rules(path, place.parts, here.names)
    return replace(place, rules=rules, said=replace(place.said, licence=place.licence or licence or place.said.licence))


def _of_file(place: Place, file: File, note: File | None) -> Said:
    """What folder, caption file and metadata say of one file; the nearest metadata first."""
    said = place.said
    if place.classes is not None and place.parts:
        below = sidecars.without_splits(place.parts)[len(place.classes) :]
        said = replace(said, label=readable("/".join(below)) or None)
    if note is not None:
        said = replace(said, caption=sidecars.caption(note))
    for depth, table in place.metadata:
        row = table.get("/".join((*place.parts[depth:], file.name)))
        if row is not None:
            said = row.over(said)
    return said


def one(place: Place, file: File) -> Iterator[Found]:
    """Whatever one file holds."""
    origin = place.origin(file.name)
    notes = {"name": "not UTF-8; escaped"} if readable(file.name) != file.name else {}
    refusal = optouts.refused((*place.parts, file.name), place.rules)
    if refusal is not None:
        yield Found(
            origin, reason=refusal[0], detail=refusal[1], refusal=True, said=place.said, size=file.size, spent=file.size
        )
        return
    try:
        yield from (
            replace(found, notes={**notes, **found.notes}) if notes else found
            for found in _contents(place, file, origin)
        )
    except Bad as bad:
        yield Found(origin, reason=bad.reason, detail=bad.detail, said=place.said, size=file.size, spent=file.size)
    except OSError as error:
        limits.full_disk(error, place.scratch)
        yield Found(origin, reason=limits.UNREADABLE, detail=limits.said(error), size=file.size, spent=file.size)


def _contents(place: Place, file: File, origin: str) -> Iterator[Found]:
    head = _head(file.path)
    if not head:
        raise Bad(limits.EMPTY, "0 bytes")
    if form := archives.kind(head):
        yield from _archive(place, file, origin, form)
    elif form := tables.kind(head, file.name):
        yield from _table(place, file, origin, form)
    else:
        medium = sniff(head, file.name)
        if medium is None:
            raise Bad(limits.UNKNOWN, f"begins with {head[:8]!r}")
        if medium in ("text", "code"):
            yield from _text(place, file, origin, medium, head)
        else:
            if file.size > place.bounds.item:
                raise Bad(limits.LARGE, f"{file.size} bytes; the limit is {place.bounds.item}")
            beside = [
                place for end in (".xmp", ".XMP") for place in (file.path.with_suffix(end), Path(f"{file.path}{end}"))
            ]
            xmp = b"".join(_head(p, 1 << 20) for p in beside if p.is_file())
            yield Found(origin, medium, file.path.read_bytes(), place.said, spent=file.size, xmp=xmp)


def _head(path: Path, n: int = HEAD) -> bytes:
    with path.open("rb") as handle:
        return handle.read(n)


def _text(place: Place, file: File, origin: str, medium: str, head: bytes) -> Iterator[Found]:
    """One item, or pieces `origin#k` where it is long."""
    if (
        medium == "text"
        and file.name.lower() == "readme.md"
        and licences.in_card(head.decode("utf-8", "replace")) is not None
    ):
        return  # A dataset's card describes the data; it is not part of it.
    if said := optouts.in_text(_head(file.path, optouts.PAGE) if file.size > len(head) else head):
        yield Found(
            origin, reason=said[0], detail=said[1], refusal=True, said=place.said, size=file.size, spent=file.size
        )
        return
    told = replace(place.said, licence=licences.in_head(head) or place.said.licence)
    if file.size <= (place.bounds.code if medium == "code" else place.bounds.piece):
        yield Found(origin, medium, file.path.read_bytes(), told, spent=file.size)
        return
    try:
        encoding, _ = text.encoding(head)
    except Damaged as damaged:
        raise Bad(damaged.reason, damaged.detail) from None
    with file.path.open("rb") as handle:
        try:
            for k, piece in enumerate(cut.pieces(handle, encoding, place.bounds.piece)):
                if piece.strip():
                    yield Found(f"{origin}#{k}", medium, piece, told, spent=len(piece))
        except UnicodeDecodeError as error:
            raise Bad(limits.ENCODING, f"{encoding}: {error.reason}") from None


def _archive(place: Place, file: File, origin: str, form: str) -> Iterator[Found]:
    if place.nesting >= place.bounds.nesting:
        raise Bad(limits.NESTED, f"more than {place.bounds.nesting} archives inside each other")
    budget = place.budget or archives.Budget(place.bounds, max(file.size, 1))
    into = place.scratch / str(place.nesting)
    archives.clear(into)
    try:
        out = archives.unpack(file.path, file.name, form, into, budget)
        inside = replace(
            place,
            root=into,
            prefix=origin + "!",
            parts=(),
            rules=tuple(replace(r, at=(), lead=()) for r in place.rules if r.pattern and "/" not in r.pattern),
            metadata=(),
            classes=None,
            budget=budget,
            nesting=place.nesting + 1,
            linked=False,
        )
        for name, reason, detail in sorted(out.bad):
            yield Found(f"{inside.prefix}{readable(name)}" if name else origin, reason=reason, detail=readable(detail))
        yield from (replace(found, spent=0) for found in tree(inside))
    finally:
        archives.clear(into)


def _table(place: Place, file: File, origin: str, form: str) -> Iterator[Found]:
    """One item a row. The columns' roles are settled by the first whole row."""
    roles: dict[str, str] | None = None
    bounds = place.bounds
    all_rows = tables.rows(file.path, form, bounds)
    try:
        first = list(itertools.islice(all_rows, 1))
        for row in itertools.chain(first, all_rows):
            at = f"{origin}#{row.number}"
            if row.bad is not None:
                yield Found(at, reason=row.bad.reason, detail=row.bad.detail)
                continue
            if roles is None:
                roles = tables.roles(list(row.values), place.named)
            yield _row(place, at, row.values, roles)
        if not first:
            raise Bad(limits.EMPTY, "no rows")
    except OSError as error:
        raise Bad(limits.UNREADABLE, limits.said(error)) from None


def _row(place: Place, at: str, values: Mapping[str, Any], roles: Mapping[str, str]) -> Found:
    said = sidecars.of_row(values, roles).over(place.said)
    try:
        if "image" in roles:
            content = _image_cell(values.get(roles["image"]))
            medium = sniff(content[:HEAD], "")
            if medium != "image":
                raise Bad(
                    limits.UNKNOWN if content else limits.EMPTY, f"column {roles['image']} begins with {content[:8]!r}"
                )
        elif "messages" in roles and "text" not in roles:
            medium, content = "text", _messages_cell(values, roles)
        else:
            content = _text_cell([values.get(column) for column in roles["text"].split("+")])
            name = values.get(roles["name"]) if "name" in roles else None
            name = name if isinstance(name, str) else "x.py" if roles["text"] == "code" else ""
            medium = sniff(content[:4096], name)
            if medium is None:
                raise Bad(limits.UNKNOWN, f"column {roles['text']} begins with {content[:8]!r}")
        if len(content) > place.bounds.item:
            raise Bad(limits.LARGE, f"{len(content)} bytes; the limit is {place.bounds.item}")
    except Bad as bad:
        return Found(at, reason=bad.reason, detail=bad.detail, said=said)
    return Found(at, medium, content, said, spent=0)


def _image_cell(value: Any) -> bytes:
    """The bytes of a cell: as they are, or in the {bytes, path} of Hugging Face."""
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise Bad(limits.EMPTY, "no bytes in the image column")
    return value


def _text_cell(values: Sequence[Any]) -> bytes:
    texts = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]
    texts = [str(value) for value in texts if value is not None and not isinstance(value, (dict, list))]
    if not any(value.strip() for value in texts):
        raise Bad(limits.EMPTY, "nothing in the text column")
    try:
        return "\n\n".join(texts).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Bad(limits.ENCODING, f"half a surrogate pair at character {error.start}") from None


def _messages_cell(values: Mapping[str, Any], roles: Mapping[str, str]) -> bytes:
    """A conversation as text: a list of messages, or what is asked in all columns but the last and answered in that.

    A text that is no list stays a text. An answer whose label is false was judged bad.
    """
    *asked, last = roles["messages"].split("+")
    before = dialogue.listed(values.get(asked[0])) if asked else ()
    if asked and not before:
        question = _text_cell([values.get(column) for column in asked]).decode("utf-8", "surrogateescape")
        before = (Message("user", question),)
    bad = isinstance(values.get(roles.get("label", "")), bool) and not values[roles["label"]]
    said = _said(values.get(last), "rejected" if bad else "assistant")
    if not said:
        return _text_cell([values.get(column) for column in (*asked, last)])
    if not before and said[0].role in ("assistant", "rejected") and len(said) == 1:
        return _text_cell([values.get(last)])
    worse = _said(values.get(roles.get("rejected", "")), "assistant")
    messages = (*before, *said, *([Message("rejected", worse[-1].text)] if worse else ()))
    return _text_cell([dialogue.written(messages)])


def _said(value: Any, role: str) -> tuple[Message, ...]:
    """A list of messages, or a text as one of them; none where there is neither."""
    listed = dialogue.listed(value)
    return listed or ((Message(role, value),) if isinstance(value, str) and value.strip() else ())
