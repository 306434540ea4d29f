"""What cleaning finds: faults planted in real text and pictures, precision and recall of each rule that should catch
them.

    GENUS_DATA=DIR python proofs/cleaning.py [--json PATH]

Text: abstracts of scitldr, scenes of tinyshakespeare, docstrings of Python's standard library, each once. A fifth of
the items are edited copies of others; others are damaged (a wrong decoding, lost characters, control characters) or
hold an address, a number or a key that was made up. Pictures: emoji_noto64, with copies stored as WebP, resized or
brightened, blank ones and broken files. All of it enters one dataset each, `genus.clean.clean` runs with its usual
rules, and each planted fault is looked up. Intervals: 95 %, by resampling faults and findings 1,000 times. The
untouched items also say what the rules cost: the share of them that is removed.
"""

from __future__ import annotations

import ast
import io
import json
import random
import string
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from proof import Row, arguments, shelf, write

from genus.clean import clean
from genus.clean.private import luhn
from genus.data.dataset import Dataset, Item

BAR = 0.95
Found = dict[str, Any]


@dataclass
class Planted:
    """What stands in a dataset. copies: item -> its original. damage: item -> kind. private: item -> (rule, value)."""

    items: list[Item] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)
    private: dict[str, tuple[str, str]] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------------------- texts


def texts(folder: Path) -> list[str]:
    """Real prose, each text once, 300 to 6,000 characters, none of it about e-mail or networks."""
    out = []
    for name in ("train", "val", "test"):
        for line in (folder / "scitldr" / f"{name}.jsonl").open(encoding="utf-8"):
            said = json.loads(line)["abstract"]
            out.append(said if isinstance(said, str) else " ".join(said))
    play = (folder / "tinyshakespeare" / "train.txt").read_text(encoding="utf-8").split("\n\n")
    out += ["\n\n".join(play[at : at + 6]) for at in range(0, len(play), 6)]
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        out += [said for node in nodes if (said := ast.get_docstring(node)) is not None]
    return [said for said in dict.fromkeys(out) if 300 <= len(said) <= 6000 and "@" not in said and "IPv" not in said]


def edited(text: str, draw: random.Random, vocabulary: Sequence[str]) -> str:
    """A copy with some of: 1 to 6 % of words changed, 1 to 4 % left out, up to 12 % of the start cut, case, spacing."""
    words = text.split()
    kinds = draw.sample(("change", "drop", "cut", "case", "space", "same"), draw.choice((1, 1, 2, 3)))
    if "cut" in kinds:
        words = words[draw.randint(1, max(1, len(words) * 12 // 100)) :]
    if "change" in kinds:
        for at in draw.sample(range(len(words)), max(1, int(len(words) * draw.uniform(0.01, 0.06)))):
            words[at] = draw.choice(vocabulary)
    if "drop" in kinds:
        share = draw.uniform(0.01, 0.04)
        words = [word for word in words if draw.random() > share]
    said = text if kinds == ["same"] else (draw.choice(("\n", "  ")) if "space" in kinds else " ").join(words)
    return draw.choice((said.upper(), said.lower(), said.title())) if "case" in kinds else said


def damaged(text: str, draw: random.Random) -> tuple[str, str]:
    """(rule that should see it, the text after a fault on its way)."""
    kind = draw.choice(("mojibake", "replacement_characters", "control_characters"))
    words = text.split(" ")
    if kind == "mojibake":
        foreign = ("café", "naïve", "Müller", "“so-called”", "it’s", "– as said –", "señor", "Ångström", "déjà vu")
        for at in draw.sample(range(len(words)), max(2, len(words) // 60)):
            words[at] = draw.choice(foreign)
        return kind, " ".join(words).encode().decode(draw.choice(("cp1252", "latin-1")), "replace").replace(
            "\ufffd", ""
        )
    mark = "\ufffd" if kind == "replacement_characters" else "\x02"
    chars = list(text)
    for at in draw.sample(range(len(chars)), max(2, len(chars) // 150)):
        chars[at] = mark
    return kind, "".join(chars)


def _digits(draw: random.Random, n: int) -> str:
    return "".join(draw.choices(string.digits, k=n))


def _email(draw: random.Random) -> tuple[str, str]:
    name = draw.choice(("jo.smith", "m_keller", "a.n.other", "lucia+news", "info", "K.Tanaka", "bob77"))
    value = (
        f"{name}@{draw.choice(('mail', 'uni-bonn', 'corp.acme', 'web'))}.{draw.choice(('com', 'de', 'org', 'co.uk'))}"
    )
    return value, draw.choice((f"write to {value}", f"({value})", f"contact: {value},"))


def _phone(draw: random.Random) -> tuple[str, str]:
    area, line = (
        draw.choice(("212", "415", "617", "303")),
        f"{draw.randint(200, 999)}{draw.choice('-. ')}{_digits(draw, 4)}",
    )
    value = draw.choice(
        (
            f"+1 {area} {line.replace('.', ' ')}",
            f"({area}) {line[:3]}-{line[4:]}",
            f"{area}-{line[:3]}-{line[4:]}",
            f"+44 20 7{_digits(draw, 3)} {_digits(draw, 4)}",
            f"+49 30 {draw.randint(2, 9)}{_digits(draw, 6)}",
            f"+33 1 4{_digits(draw, 1)} {_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 2)}",
        )
    )
    return value, draw.choice((f"call {value}", f"phone: {value}.", f"reach me at {value}"))


def _card(draw: random.Random) -> tuple[str, str]:
    start, size = draw.choice((("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16)))
    body = start + _digits(draw, size - len(start) - 1)
    value = next(body + d for d in string.digits if luhn(body + d))
    if size == 16 and draw.random() < 0.6:
        value = draw.choice(" -").join(value[i : i + 4] for i in range(0, 16, 4))
    return value, f"paid with card {value}"


def _iban(draw: random.Random) -> tuple[str, str]:
    land, body = draw.choice((("DE", _digits(draw, 18)), ("NL", "ABNA" + _digits(draw, 10)), ("FR", _digits(draw, 23))))
    check = 98 - int("".join(str(int(c, 36)) for c in body + land + "00")) % 97
    value = f"{land}{check:02d}{body}"
    if draw.random() < 0.5:
        value = " ".join(value[i : i + 4] for i in range(0, len(value), 4))
    return value, f"account {value}"


def _ip(draw: random.Random) -> tuple[str, str]:
    value = f"{draw.randint(11, 120)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(1, 254)}"
    if draw.random() < 0.2:
        value = f"2001:db8:{draw.randint(4096, 65535):x}::{draw.randint(1, 65535):x}:{draw.randint(1, 65535):x}"
    return value, draw.choice((f"from {value}", f"host {value} answered"))


def _secret(draw: random.Random) -> tuple[str, str]:
    def text(n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
        return "".join(draw.choices(alphabet, k=n - 2)) + "7q"

    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    value, said = draw.choice(
        (
            (lambda v: (v, f"key {v}"))("AKIA" + "".join(draw.choices(upper, k=16))),
            (lambda v: (v, f"token {v}"))("ghp_" + text(36)),
            (lambda v: (v, v))(f"xoxb-{_digits(draw, 12)}-{text(24)}"),
            (lambda v: (v, f'password = "{v}"'))(text(14) + "!x"),
            (lambda v: (v, f"API_KEY={v}\n"))(text(32)),
            (lambda v: (v, f"client_secret: '{v}'"))(text(24)),
            (lambda v: (v, f"-----BEGIN PRIVATE KEY-----\n{v}\n-----END PRIVATE KEY-----"))(text(64) + "\n" + text(64)),
        )
    )
    return value, said


PRIVATE: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "secret": _secret,
}


def plant_texts(folder: Path, seed: int = 0) -> Planted:
    """A fifth copies, a twelfth damaged, a sixth with something private."""
    draw = random.Random(seed)
    base = texts(folder)
    draw.shuffle(base)
    vocabulary = sorted({word for said in base[:500] for word in said.split()})
    out = Planted()

    def add(name: str, said: str) -> str:
        out.items.append(Item(origin=name, medium="text", content=said.encode()))
        return out.items[-1].id

    for i, said in enumerate(base):
        if i % 10 == 3:
            kind, said = damaged(said, draw)
            out.damage[add(f"damaged-{i}.txt", said)] = kind
        elif i % 10 in (5, 7):
            rule = draw.choice(list(PRIVATE))
            value, phrase = PRIVATE[rule](draw)
            words = said.split(" ")
            at = draw.randint(0, len(words))
            name = add(f"private-{i}.txt", " ".join((*words[:at], phrase, *words[at:])))
            out.private[name] = (rule, value)
        else:
            original = add(f"plain-{i}.txt", said)
            if i % 10 in (0, 1, 2) and draw.random() < 0.84:
                out.copies[add(f"copy-{i}.txt", edited(said, draw, vocabulary))] = original
    draw.shuffle(out.items)
    return out


# ------------------------------------------------------------------------------------------------------------ pictures


def plant_pictures(folder: Path, seed: int = 0) -> Planted:
    """A fifth copies; a few blank or broken."""
    import pyarrow.parquet as pq
    from PIL import Image, ImageEnhance

    draw = random.Random(seed)
    table = pq.read_table(folder / "emoji_noto64" / "train.parquet", columns=["image"]).column(0).to_pylist()
    raw = [v["bytes"] if isinstance(v, dict) else v for v in table]
    out = Planted()

    def add(name: str, data: bytes) -> str:
        out.items.append(Item(origin=name, medium="image", content=data))
        return out.items[-1].id

    for i, data in enumerate(raw):
        original = add(f"plain-{i}.png", data)
        if i % 4 == 0:
            picture = Image.open(io.BytesIO(data)).convert("RGBA")
            how = draw.choice(("webp", "resize", "bright"))
            if how == "resize":
                picture = picture.resize((96, 96) if draw.random() < 0.5 else (48, 48), Image.Resampling.LANCZOS)
            if how == "bright":
                picture = ImageEnhance.Brightness(picture).enhance(draw.uniform(0.9, 1.1))
            store = io.BytesIO()
            picture.save(
                store, *(("WEBP",) if how == "webp" else ("PNG",)), **({"quality": 75} if how == "webp" else {})
            )
            out.copies[add(f"copy-{i}", store.getvalue())] = original
        if i % 50 == 1:
            store = io.BytesIO()
            Image.new("RGB", (64, 64), (i % 256, 90, 200)).save(store, "PNG")
            out.damage[add(f"blank-{i}.png", store.getvalue())] = "blank"
        if i % 50 == 2:
            out.damage[add(f"broken-{i}.png", data[: len(data) // 2])] = "broken"
    draw.shuffle(out.items)
    return out


# ------------------------------------------------------------------------------------------------------------- results


def interval(hits: Sequence[bool]) -> tuple[float, float, float]:
    """(mean, low, high), 95 %, by resampling."""
    if not hits:
        return float("nan"), float("nan"), float("nan")
    x = np.array(hits, float)
    draws = np.random.default_rng(0).integers(0, len(x), (1000, len(x)))
    low, high = np.quantile(x[draws].mean(1), (0.025, 0.975))
    return float(x.mean()), float(low), float(high)


def score(medium: str, planted: Planted, folder: Path) -> list[Found]:
    """Clean a dataset that holds what was planted, and look every fault up."""
    data = Dataset.create(folder / medium)
    data.append(planted.items)
    start = time.perf_counter()
    result = clean(folder / medium)
    seconds = time.perf_counter() - start
    size = sum(item.size for item in planted.items) / 1e6
    print(f"{medium}: {len(planted.items)} items, {size:.1f} MB in {seconds:.1f} s; {result.removed}, {result.masked}")
    names = ["id", "status", "reason", "cleaned", "content", "notes"]
    state = {row["id"]: row for batch in Dataset.open(folder / medium).scan(names) for row in batch.to_pylist()}
    twins = {"exact_duplicates", "near_duplicates", "alike_pictures"}
    rows: list[Found] = []

    def report(metric: str, hits: Sequence[bool], bar: float | None = BAR) -> None:
        value, low, high = interval(hits)
        rows.append({"metric": f"{medium}, {metric}", "value": value, "low": low, "high": high, "bar": bar})
        rows[-1]["baseline"] = None

    # Copies: of each family of m, m - 1 should go; one of any family, or one without family, that goes beyond is wrong.
    families: dict[str, list[str]] = defaultdict(list)
    for copy, original in planted.copies.items():
        families[original].append(copy)
    found, right = [], []
    member = {name: original for original, copies in families.items() for name in (original, *copies)}
    gone = {name for name, row in state.items() if row["reason"] in twins}
    for original, copies in families.items():
        went = sum(name in gone for name in (original, *copies))
        found += [k < went for k in range(len(copies))]
        right += [k < len(copies) for k in range(went)]
    right += [False for name in gone if name not in member]
    report("duplicates, recall", found)
    report("duplicates, precision", right)

    damage = {name for name, row in state.items() if row["status"] == "removed" and row["reason"] not in twins}
    report("damage, recall", [name in damage for name in planted.damage])
    report("damage, precision", [name in planted.damage for name in damage])

    if planted.private:
        hidden: dict[str, list[bool]] = defaultdict(list)
        masks: list[bool] = []
        for name, (rule, value) in planted.private.items():
            row = state[name]
            shown = (row["cleaned"] if row["cleaned"] is not None else row["content"]).decode()
            hidden[rule].append(value not in shown and row["status"] == "kept")
        for name, row in state.items():
            for rule, times in json.loads(row["notes"]).items():
                if rule in PRIVATE:
                    expected = name in planted.private and planted.private[name][0] == rule
                    masks += [expected and k == 0 for k in range(times)]
        report("personal data, recall", [hit for hits in hidden.values() for hit in hits])
        report("personal data, precision", masks)
        for rule, hits in hidden.items():
            report(f"{rule}, recall", hits, None)
        print("  ", Counter(rule for rule, _ in planted.private.values()))
    untouched = [
        name for name in state if name not in member and name not in planted.damage and name not in planted.private
    ]
    report("untouched items removed", [state[name]["status"] == "removed" for name in untouched], None)
    rows.append({"metric": f"{medium}, MB/s", "value": size / seconds, "low": None, "high": None, "bar": None})
    rows[-1]["baseline"] = None
    return rows


def main() -> None:
    given = arguments(__doc__)
    for name in ("scitldr", "tinyshakespeare", "emoji_noto64"):
        place = shelf(given, name).parent
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = score("text", plant_texts(place), Path(folder)) + score("image", plant_pictures(place), Path(folder))
    rows = [
        Row(r["metric"], r["value"], r["low"], r["high"], None if r["bar"] is None else f">= {r['bar']}") for r in found
    ]
    note = "intervals: bootstrap over planted items, 1,000 resamples"
    write(given, "cleaning", rows, time.perf_counter() - began, note)


if __name__ == "__main__":
    main()
