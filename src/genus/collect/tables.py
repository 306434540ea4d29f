"""Tables as rows: .jsonl, .csv, .tsv, Parquet, and the Arrow files of Hugging Face `datasets`, a few rows at a time.

Which column is the content is found by name, or named by the user. Not here: what becomes of a row
(`genus.collect.contents`).
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from genus.collect import limits
from genus.collect.limits import Bad, Limits
from genus.errors import UsageError
from genus.media import Damaged, text

#: Roles a column may have, and the names by which it is known, best first.
ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "img", "picture", "photo", "image_bytes", "jpg", "png", "webp"),
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog"),
    "text": ("text", "content", "code", "body", "document", "article", "story", "passage", "sentence", "abstract"),
    "caption": ("caption", "description", "alt", "alt_text", "prompt", "title"),
    "label": ("label", "class", "category", "labels"),
    "licence": ("licence", "license", "spdx"),
    "consent": ("consent",),
    "rejected": ("rejected",),
    "split": ("split",),
    "name": ("file_name", "filename", "path", "name"),
}
#: Columns that are a text together, where none is by itself.
TOGETHER = (("prompt", "canonical_solution"), ("source", "target"))
#: Columns that are a conversation together: what is asked, and at last the answer.
ASKED = (
    ("instruction", "input", "chosen"),
    ("instruction", "chosen"),
    ("prompt", "chosen"),
    ("question", "chosen"),
    ("chosen",),
    ("question", "answer"),
    ("question", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "input", "output"),
    ("instruction", "output"),
    ("instruction", "response"),
)


@final
@dataclass(frozen=True)
class Row:
    """One row: its number from 0 (in .jsonl that of its line), and its values by column; or why it is unusable."""

    number: int
    values: Mapping[str, Any]
    bad: Bad | None = None


def kind(head: bytes, name: str) -> str | None:
    """parquet, arrow, jsonl, csv or tsv. Binary forms by their marks; a text is a table only if it is named so."""
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1" or (name.endswith(".arrow") and head[:4] == b"\xff\xff\xff\xff"):
        return "arrow"
    suffix = name.lower().rsplit(".", 1)[-1] if "." in name else ""
    form = {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv"}.get(suffix)
    return form if form and not text.binary(head) else None


def rows(path: Path, form: str, bounds: Limits) -> Iterator[Row]:
    """All rows in order. Raises `Bad` where the rest of the file cannot be read."""
    if form in ("parquet", "arrow"):
        yield from _columnar(path, form, bounds)
        return
    with path.open("rb") as file:
        encoding, skip = _encoding(file.read(1 << 16))
        file.seek(skip)
        # Broken bytes become lone surrogates, so that one bad row is found and the others stay. A line of JSON ends at
        # a line feed alone; str.splitlines would also end it at U+2028 inside a string.
        errors = "surrogateescape" if encoding == "utf-8" else "strict"
        with io.TextIOWrapper(file, encoding, errors, newline="\n" if form == "jsonl" else "") as lines:
            try:
                yield from (_json if form == "jsonl" else _csv)(_lines(lines, bounds.row), form, bounds)
            except UnicodeDecodeError as error:
                raise Bad(limits.ENCODING, str(error)) from None


def _encoding(head: bytes) -> tuple[str, int]:
    try:
        return text.encoding(head)
    except Damaged:
        return "utf-8", 0  # Then each row is judged by itself.


def _lines(lines: io.TextIOWrapper, longest: int) -> Iterator[str]:
    """Lines of at most `longest` characters; of a longer one the rest is passed over."""
    while line := lines.readline(longest):
        yield line
        while len(line) == longest and not line.endswith("\n"):
            line = lines.readline(longest)


def _whole(value: str) -> str:
    """The same, if it held only proper characters. Raises `Bad`("encoding")."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Bad(limits.ENCODING, f"not UTF-8 at character {error.start} of the row") from None
    return value


def _json(lines: Iterator[str], form: str, bounds: Limits) -> Iterator[Row]:
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            if len(line) == bounds.row:
                raise Bad(limits.LARGE, f"a line of {bounds.row} characters or more")
            values = json.loads(_whole(line))
            if not isinstance(values, dict):
                raise Bad(limits.ROW, f"a {type(values).__name__}, not an object")
            yield Row(number, values)
        except Bad as bad:
            yield Row(number, {}, bad)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, Bad(limits.ROW, str(error)))


def _csv(lines: Iterator[str], form: str, bounds: Limits) -> Iterator[Row]:
    csv.field_size_limit(bounds.row)
    first = next(lines, "")
    # Where a comma is the decimal mark, spreadsheets write semicolons between cells.
    mark = "\t" if form == "tsv" else ";" if ";" in first and "," not in first else ","
    reader = csv.reader(itertools.chain([first], lines), delimiter=mark)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise Bad(limits.ROW, f"header: {error}") from None
    number = -1
    while True:
        number += 1
        try:
            cells = next(reader)
            if not cells:
                number -= 1
                continue
            if len(cells) != len(header):
                raise Bad(limits.ROW, f"{len(cells)} cells under {len(header)} columns")
            yield Row(number, dict(zip(header, map(_whole, cells), strict=True)))
        except StopIteration:
            return
        except Bad as bad:
            yield Row(number, {}, bad)
        except csv.Error as error:
            yield Row(number, {}, Bad(limits.ROW, str(error)))


def _columnar(path: Path, form: str, bounds: Limits) -> Iterator[Row]:
    """Values as Python objects; class numbers become the names that Hugging Face metadata gives them."""
    import pyarrow as pa

    number = 0
    try:
        with path.open("rb") as file:
            batches, schema = (_parquet if form == "parquet" else _arrow)(file, bounds)
            names = class_names(schema.metadata or {})
            for batch in batches:
                for start in range(0, batch.num_rows, 16):
                    for values in batch.slice(start, 16).to_pylist():
                        for column, labels in names.items():
                            given = values.get(column)
                            if isinstance(given, int) and 0 <= given < len(labels):
                                values[column] = labels[given]
                        yield Row(number, values)
                        number += 1
    except (pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Bad(
            limits.TRUNCATED if number or _cut(error) else limits.DAMAGED, f"{form}: {str(error)[:200]}"
        ) from None


def _cut(error: Exception) -> bool:
    return any(
        word in str(error).lower() for word in ("magic bytes", "end of stream", "eof", "expected to", "too small")
    )


def _parquet(file: IO[bytes], bounds: Limits) -> tuple[Iterator[Any], Any]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    for i in range(table.metadata.num_row_groups):
        if table.metadata.row_group(i).total_byte_size > bounds.unpacked:
            raise Bad(limits.BOMB, f"row group {i} unpacks to more than {bounds.unpacked} bytes")
    return table.iter_batches(batch_size=64), table.schema_arrow


def _arrow(file: IO[bytes], bounds: Limits) -> tuple[Iterator[Any], Any]:
    import pyarrow as pa

    if file.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return (reader.get_batch(i) for i in range(reader.num_record_batches)), reader.schema
    file.seek(0)
    stream = pa.ipc.open_stream(file)
    return iter(stream), stream.schema


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> its class names, from the feature description that `datasets` writes into a schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {column: said["names"] for column, said in features.items() if isinstance(said.get("names"), list)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def known(named: Mapping[str, str]) -> dict[str, str]:
    """The same, if all are roles that there are. Raises `UsageError`."""
    unknown = sorted(set(named) - set(ROLES))
    if unknown:
        raise UsageError(f"no column role {', '.join(map(repr, unknown))}; there are: {', '.join(ROLES)}")
    return dict(named)


def roles(columns: list[str], named: Mapping[str, str]) -> dict[str, str]:
    """Role -> column (several joined by `+`). Raises `Bad`("no content column") that says what there is.

    named: what the user said, by role; every other role goes to the first of its usual names that the table has.
    """
    lower = {column.lower(): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for role, usual in ROLES.items():
        if role in named:
            missing = [part for part in named[role].split("+") if part not in columns]
            if missing:
                raise Bad(limits.COLUMNS, f"no column {', '.join(missing)} for {role}; there are: {', '.join(columns)}")
            found[role] = named[role]
        else:
            taken = {part for value in found.values() for part in value.split("+")}
            match = next((lower[n] for n in usual if n in lower and lower[n] not in taken), None)
            if match is not None:
                found[role] = match
    if "image" in found:
        found = {role: column for role, column in found.items() if role not in ("messages", "rejected")}
    if "image" in found and "text" in found and "text" not in named:
        # Beside a picture, a text is what is said of it.
        found.setdefault("caption", found["text"])
        del found["text"]
    if "messages" in found and "text" not in named:
        found.pop("text", None)
    if not {"image", "text", "messages"} & set(found):
        for role, sets in (("messages", ASKED), ("text", TOGETHER)):
            together = next((some for some in sets if all(part in lower for part in some)), None)
            if together is not None:
                found = {other: column for other, column in found.items() if column.lower() not in together}
                return {**found, role: "+".join(lower[part] for part in together)}
        if len(columns) == 1:
            return {"text": columns[0]}
        raise Bad(limits.COLUMNS, f"columns: {', '.join(columns)}; name one with: --column text=NAME")
    return found
