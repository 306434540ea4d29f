"""Which licence a text states, as an SPDX identifier. Not here: whether that licence allows what is planned.

Recognition is by the sentences that make each licence what it is, not by comparison with whole texts: people edit names
and years, and a wrong answer is worse than none. What is not recognised becomes `LicenseRef-NAME`, as SPDX 2.3 has it.
"""

from __future__ import annotations

import re
from pathlib import Path

from genus.collect.walk import File

_FILE = re.compile(r"(un)?licen[sc]e|copying", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(txt|md|rst|html)", re.IGNORECASE)
_HEADER = re.compile(rb"SPDX-License-Identifier:\s*([A-Za-z0-9.+()\- ]+?)\s*(?:\*/|-->|\r|\n|$)")
_CARD = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_CARD_LICENCE = re.compile(r"^licen[sc]e:[ \t]*(?:\n\s*-\s+)?[\"']?(\w[\w.+-]*)", re.MULTILINE)
_CREATIVE = re.compile(r"creativecommons\.org/licenses/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)")
_CREATIVE_NAME = re.compile(
    r"attribution(-noncommercial)?(-sharealike|-noderivatives|-noderivs)? (\d\.\d) (?:international|generic|unported)"
)

#: The first whose every phrase is in the text, with white space evened out and case dropped.
_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("CC0-1.0", ("creativecommons.org/publicdomain/zero/1.0",)),
    ("AGPL-3.0-only", ("gnu affero general public license", "version 3, 19 november 2007")),
    ("LGPL-3.0-only", ("gnu lesser general public license", "version 3, 29 june 2007")),
    ("LGPL-2.1-only", ("gnu lesser general public license", "version 2.1, february 1999")),
    ("GPL-3.0-only", ("gnu general public license", "version 3, 29 june 2007")),
    ("GPL-2.0-only", ("gnu general public license", "version 2, june 1991")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("EPL-2.0", ("eclipse public license", "2.0")),
    ("EUPL-1.2", ("european union public licence", "1.2")),
    ("OFL-1.1", ("sil open font license", "1.1")),
    ("ODbL-1.0", ("open database license", "1.0")),
    ("PDDL-1.0", ("open data commons public domain dedication",)),
    ("ODC-By-1.0", ("open data commons attribution license",)),
    ("CDLA-Permissive-2.0", ("community data license agreement", "permissive", "2.0")),
    ("CDLA-Permissive-1.0", ("community data license agreement", "permissive", "1.0")),
    ("CDLA-Sharing-1.0", ("community data license agreement", "sharing", "1.0")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("AFL-3.0", ("academic free license", "3.0")),
    ("Artistic-2.0", ("artistic license 2.0",)),
    ("BSL-1.0", ("boost software license", "1.0")),
    ("WTFPL", ("do what the fuck you want to public license",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms", "this list of conditions")),
    (
        "MIT",
        ("permission is hereby granted, free of charge, to any person obtaining a copy", "shall be included in all"),
    ),
    ("MIT-0", ("permission is hereby granted, free of charge, to any person obtaining a copy",)),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software", "appear in all copies")),
    ("0BSD", ("permission to use, copy, modify, and/or distribute this software",)),
    ("Zlib", ("this software is provided 'as-is', without any express or implied warranty", "misrepresented")),
)


def is_licence_file(name: str) -> bool:
    """LICENSE, LICENCE, COPYING, UNLICENSE, also LICENSE.txt, LICENSE-MIT, COPYING.LESSER; not license.py."""
    match = _FILE.match(name)
    if match is None:
        return False
    rest = name[match.end() :]
    return not rest or rest[0] in "-_" or _SUFFIX.fullmatch(rest) is not None or (rest[0] == "." and rest[1:].isupper())


def recognise(text: str) -> str | None:
    """The SPDX identifier of a licence's text, or None."""
    header = in_head(text[:4096].encode("utf-8", "replace"))
    if header:
        return header
    plain = " ".join(text.lower().split())
    if link := _CREATIVE.search(plain):
        return f"CC-{link[1].upper()}-{link[2]}"
    if name := _CREATIVE_NAME.search(plain):
        kind = {"-sharealike": "-SA", "-noderivatives": "-ND", "-noderivs": "-ND", None: ""}[name[2]]
        return f"CC-BY{'-NC' if name[1] else ''}{kind}-{name[3]}"
    for spdx, phrases in _PHRASES:
        if all(phrase in plain for phrase in phrases):
            return spdx
    return None


def in_head(head: bytes) -> str | None:
    """What an SPDX-License-Identifier line among a file's first bytes says."""
    match = _HEADER.search(head[:4096])
    return match[1].decode("ascii") if match else None


def in_card(text: str) -> str | None:
    """The licence that the front matter of a dataset card (README.md) states; "" if it is a card without one.

    None: not a card, an ordinary text.
    """
    front = _CARD.match(text)
    if front is None or not re.search(
        r"^(licen[sc]e|dataset_info|task_categories|pretty_name|configs):", front[1], re.M
    ):
        return None
    stated = _CARD_LICENCE.search(front[1])
    return spdx_case(stated[1]) if stated else ""


def spdx_case(name: str) -> str:
    """The identifier in SPDX's capitals where it is one of ours ("apache-2.0" -> "Apache-2.0")."""
    known = {spdx.lower(): spdx for spdx, _ in _PHRASES}
    return known.get(name.lower(), name.upper() if name.lower().startswith("cc-by") else name)


def of_folder(files: list[File]) -> str | None:
    """What the licence files of one folder say; several, joined by OR as SPDX does. None: there are none."""
    said = [
        recognise(_text(file.path)) or f"LicenseRef-{re.sub(r'[^A-Za-z0-9.-]', '-', file.name)}"
        for file in files
        if is_licence_file(file.name) and file.size < 1 << 20
    ]
    return " OR ".join(dict.fromkeys(said)) or None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
