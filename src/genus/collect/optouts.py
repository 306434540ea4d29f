"""What owners said against training on their work, where machines can read it.

    .nogenus                     ours: empty, this folder and all below; else one glob pattern a line
    tdmrep.json                  TDM Reservation Protocol (W3C Community Group 2024): beside files or in .well-known
    <meta name="tdm-reservation">, tdm:reservation in XMP: the same protocol inside a file
    plus:DataMining              IPTC Photo Metadata 2023.1 / PLUS, in XMP, embedded or in an .xmp file beside
    c2pa.training-mining, cawg.training-mining: assertions in content credentials (C2PA 1.4; CAWG 1.1)

In doubt an opt-out holds: a damaged file that says no still says no, and a signature need not be valid for a refusal to
count. Nothing is fetched from the network. Not here: robots.txt, which speaks of fetching, not of training.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, final

#: So many first bytes of a page may hold what it says of itself: styles and scripts may stand before it.
PAGE = 1 << 20
#: Reasons, by which refusals are counted.
NOGENUS, TDM, IPTC, C2PA, COLUMN = "nogenus", "tdm reservation", "iptc data mining", "c2pa training-mining", "consent"

_DMI = re.compile(rb"DMI-PROHIBITED[A-Z-]*")
_TDM_XMP = re.compile(rb"tdm:reservation\s*(?:=\s*[\"']\s*1|>\s*1)")
_TDM_META = re.compile(rb"<meta\s[^>]*name\s*=\s*[\"']?tdm-reservation[\"']?[^>]*content\s*=\s*[\"']?1", re.IGNORECASE)
_TDM_META_TURNED = re.compile(rb"<meta\s[^>]*content\s*=\s*[\"']?1[\"']?[^>]*name\s*=\s*[\"']?tdm-reservation", re.I)
_USES = re.compile(r"(data_mining|ai_training|ai_generative_training)$")


@final
@dataclass(frozen=True)
class Rule:
    """One statement about the files below a folder. pattern: None means all of them.

    at: the folder's parts below the root; lead: for a folder above the root, the root's parts below that folder.
    """

    at: tuple[str, ...]
    pattern: str | None
    reason: str
    reserves: bool = True
    lead: tuple[str, ...] = ()

    def meets(self, parts: tuple[str, ...]) -> bool:
        """Whether it speaks of the file with these parts of its path."""
        if parts[: len(self.at)] != self.at:
            return False
        if self.pattern is None:
            return True
        below = self.lead + parts[len(self.at) :]
        if self.reason == TDM:
            return bool(_location(self.pattern).match("/" + "/".join(below)))
        pattern = self.pattern.strip("/")
        if "/" not in pattern and not self.pattern.startswith("/"):
            return any(fnmatchcase(part, pattern) for part in below)
        # A folder that is meant takes along what is below it.
        return any(fnmatchcase("/".join(below[:n]), pattern) for n in range(1, len(below) + 1))


@cache
def _location(pattern: str) -> re.Pattern[str]:
    """A path of tdmrep.json: from the start, `*` for anything, `$` for the end (as RFC 9309)."""
    end = "$" if pattern.endswith("$") else ""
    body = ".*".join(re.escape(piece) for piece in pattern.removesuffix("$").split("*"))
    return re.compile(("" if pattern.startswith("/") else "/") + body + end)


def rules(folder: Path, at: tuple[str, ...], names: Iterable[str]) -> tuple[Rule, ...]:
    """What the files of one folder state; `at`: that folder's own parts."""
    found: list[Rule] = []
    names = set(names)
    if ".nogenus" in names and (folder / ".nogenus").exists():
        lines = [line.strip() for line in _read(folder / ".nogenus").splitlines()]
        patterns = [line for line in lines if line and not line.startswith("#")]
        found += [Rule(at, pattern, NOGENUS) for pattern in patterns] or [Rule(at, None, NOGENUS)]
    for name in ("tdmrep.json", ".well-known/tdmrep.json"):
        if name.split("/")[0] in names and (folder / name).is_file():
            found += _tdmrep(_read(folder / name), at)
    return tuple(found)


def _tdmrep(text: str, at: tuple[str, ...]) -> list[Rule]:
    try:
        said = json.loads(text)
        said = said if isinstance(said, list) else [said]
        return [
            Rule(at, str(s.get("location", "/")), TDM, str(s.get("tdm-reservation")) in ("1", "1.0", "True"))
            for s in said
            if "tdm-reservation" in s
        ]
    except (ValueError, AttributeError, TypeError):
        return [Rule(at, None, TDM)]


def refused(parts: tuple[str, ...], stated: Sequence[Rule]) -> tuple[str, str] | None:
    """(reason, detail) if a rule reserves this path.

    Of a TDM file the longest location that fits decides; of equally long ones, the refusal.
    """
    for rule in stated:
        if rule.reason == NOGENUS and rule.meets(parts):
            return NOGENUS, f".nogenus in /{'/'.join(rule.at)}" + (f": {rule.pattern}" if rule.pattern else "")
    tdm = [rule for rule in stated if rule.reason == TDM and rule.meets(parts)]
    if tdm:
        rule = max(tdm, key=lambda r: (len(r.at), len(r.pattern or ""), r.reserves))
        if rule.reserves:
            return (
                TDM,
                f"tdmrep.json in /{'/'.join(rule.at)}: {rule.pattern or 'unreadable, so taken as a reservation'}",
            )
    return None


def in_image(data: bytes, beside: bytes = b"") -> tuple[str, str] | None:
    """(reason, detail) if an image's own metadata, or the .xmp file beside it, reserves it."""
    for text in (data, *_packed_xmp(data), beside, beside.replace(b"\0", b"")):
        if said := _DMI.search(text):
            return IPTC, said[0].decode()
        if _TDM_XMP.search(text):
            return TDM, "tdm:reservation in XMP"
    return _credentials(data) if b"c2pa" in data or b"cawg" in data else None


def in_text(head: bytes) -> tuple[str, str] | None:
    """(reason, detail) if a page's own metadata reserves it."""
    if b"tdm-reservation" in head and (_TDM_META.search(head) or _TDM_META_TURNED.search(head)):
        return TDM, "meta tdm-reservation"
    return None


def _packed_xmp(data: bytes) -> list[bytes]:
    """XMP that a format stores compressed, as PNG may; the bytes themselves do not show it."""
    if not data.startswith(b"\x89PNG") or b"XML:com.adobe.xmp" not in data:
        return []
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return [str(value).encode("utf-8", "replace") for value in picture.info.values() if isinstance(value, str)]
    except Exception:  # Its damage is another room's finding.
        return []


def _credentials(data: bytes) -> tuple[str, str] | None:
    """Training-mining assertions of any manifest in the file; ingredients' too, for their owners spoke as well."""
    try:
        manifests = json.loads(_reader(data)).get("manifests", {}).values()
        for manifest in manifests:
            for assertion in manifest.get("assertions", ()):
                label = assertion.get("label", "")
                if "training-mining" in label and (said := _prohibits(assertion.get("data"))):
                    return C2PA, f"{label}: {said}"
        return None
    except Exception as error:  # The reader is native code with failures of every kind; the words themselves remain.
        if b"training-mining" in data and (b"notAllowed" in data or b"constrained" in data):
            return C2PA, f"training-mining in credentials that cannot be read ({str(error)[:80]})"
        return None


def _prohibits(said: Any) -> str | None:
    entries = said.get("entries", said) if isinstance(said, dict) else {}
    for name, entry in entries.items():
        use = entry.get("use") if isinstance(entry, dict) else entry
        if _USES.search(name) and use != "allowed":
            return f"{name} {use}"
    return None


def _reader(data: bytes) -> str:
    import c2pa

    offline = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False}}
    with c2pa.Context.from_dict(offline) as context, c2pa.Reader(None, io.BytesIO(data), context=context) as reader:
        return str(reader.json())


def _read(path: Path) -> str:
    """A small text; one that cannot be read says nothing, and so reserves everything."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8-sig", "replace")
    except OSError:
        return ""
