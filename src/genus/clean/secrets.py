"""Credentials in texts, masked: what a service's tokens look like, private keys, and values given to names like
`password`.

The shapes are those the services publish so that leaks can be found. A value given to a telling name counts if it is
as random as a secret must be: by its Shannon entropy a character, its length, and its mixture of kinds of characters.
Not here: whether a secret still works.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Literal, final

from pydantic import Field

from genus.clean.rule import Mask, Span

__all__ = ["Secret", "entropy"]

#: (what the text must hold for the shape to be sought, the shape)
_SHAPES = tuple(
    (needle, re.compile(shape))
    for needle, shape in (
        *(
            (key, rf"{key}(?<![A-Z0-9]....)[A-Z2-7][A-Z0-9]{{15}}(?![A-Z0-9])")
            for key in ("AKIA", "ASIA", "AROA", "AIDA")
        ),
        *((f"gh{key}_", rf"gh{key}_[A-Za-z0-9]{{30,255}}") for key in "pousr"),
        ("github_pat_", r"github_pat_[A-Za-z0-9_]{22,255}"),
        ("glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
        ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("xapp-", r"xapp-\d-[A-Za-z0-9-]{10,}"),
        ("hooks.slack.com", r"hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"),
        ("AIza", r"AIza[A-Za-z0-9_-]{35}"),
        ("_live_", r"(?<!\w)[rsp]k_live_[A-Za-z0-9]{16,}"),
        ("_test_", r"(?<!\w)[rs]k_test_[A-Za-z0-9]{16,}"),
        ("sk-", r"sk-(?<!\w...)(?:ant-|proj-|or-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"),
        ("hf_", r"hf_[A-Za-z0-9]{30,}"),
        ("npm_", r"npm_[A-Za-z0-9]{36}"),
        ("pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
        ("SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        ("eyJ", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
        (
            "PRIVATE KEY",
            r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\\\s:,.-]{40,}?"
            r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
        ),
    )
)
#: A password inside an address: only it is masked.
_ADDRESS = re.compile(r"://[^\s:/@<>\"'{}$]{1,64}:([^\s/@<>\"'{}$%]{3,64})@[\w.-]")
#: Words that tell, and which key is one.
_TELLING = ("secret", "token", "passw", "passphrase", "pwd", "key", "auth", "credential")
_KEYS = re.compile(r"(?:api|access|private|secret|signing|encryption|account|master|client|service|storage)[ _.-]?$")
_VALUE = re.compile(
    r"[\w-]{0,32}[\"']?\]?\s{0,3}(?::=|=>|=|:)\s{0,3}"
    r"(?:[bru]?\"([^\"\n\\]{8,200})\"|[bru]?'([^'\n\\]{8,200})'|([A-Za-z0-9+/=_.~!@#$%^&*-]{12,200})(?=[\s;,)]|$))",
    re.IGNORECASE | re.MULTILINE,
)
_BEARER = re.compile(r"(?:[Bb]earer|BEARER|Basic)\s+([A-Za-z0-9+/=_.~-]{20,300})")
_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|your|change.?me|xxx|\*\*\*|dummy|redacted|<|\$\{|\{\{|todo|1234567890abc"
)


@final
class Secret(Mask):
    """Keys, tokens and passwords.

    bits: smallest Shannon entropy a character of a value given to a telling name. size: smallest length of one without
    quotes (with quotes, 8).
    """

    kind: Literal["clean.secrets.secret"] = "clean.secrets.secret"
    mark: str = "<SECRET>"
    bits: float = Field(2.75, ge=0)
    size: int = Field(16, ge=8)
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def spans(self, text: str) -> list[Span]:
        """Of a given value only the value: the line stays code."""
        out = [
            Span(found.start(), found.end(), self.mark)
            for needle, shape in _SHAPES
            if needle in text
            for found in shape.finditer(text)
        ]
        if "://" in text and "@" in text:
            out += [Span(*found.span(1), self.mark) for found in _ADDRESS.finditer(text)]
        seen = set()
        for found in self._given(text):
            which = next(i for i in (1, 2, 3) if found.group(i) is not None)
            if found.start(which) not in seen and self.random(found.group(which), quoted=which < 3):
                seen.add(found.start(which))
                out.append(Span(*found.span(which), self.mark))
        if "earer" in text or "Basic " in text or "BEARER" in text:
            out += [Span(*m.span(1), self.mark) for m in _BEARER.finditer(text) if self.random(m.group(1), quoted=True)]
        return out

    def _given(self, text: str) -> Iterator[re.Match[str]]:
        """Where something is given to a telling name."""
        low = text.lower()
        if len(low) != len(text) or not ("=" in text or ":" in text):
            low = text if "=" in text or ":" in text else ""  # a few letters change their length in lower case
        for word in _TELLING:
            at = low.find(word)
            while at >= 0:
                after = at + len(word)
                if word != "key" or _KEYS.search(low[max(0, at - 12) : at]):
                    found = _VALUE.match(text, after)
                    if found:
                        yield found
                at = low.find(word, after)

    def random(self, value: str, quoted: bool) -> bool:
        """Whether a value is as random as a secret must be: no word, path, sentence, name or placeholder."""
        if len(value) < (8 if quoted else self.size) or " " in value or _PLACEHOLDER.search(value):
            return False
        kinds = sum(any(map(test, value)) for test in (str.islower, str.isupper, str.isdigit)) + (not value.isalnum())
        if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)) or kinds < 2:
            return False
        if ("/" in value and value.count("/") > len(value) / 12) or re.fullmatch(
            r"[a-z_]+\d{0,2}(?:[.:-][a-z_]+\d{0,2})*", value
        ):
            return False
        if not quoted and re.fullmatch(r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+", value):
            return False  # an attribute of something
        if not quoted and value.isidentifier() and _turns(value) < 0.3:
            return False  # a name with a number in it
        if value.count(".") >= 2 and all(part.isidentifier() for part in value.split(".")):
            return False  # the path of a module
        return entropy(value) >= self.bits


def entropy(value: str) -> float:
    """Shannon's, in bits a character, of the value's own characters."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _turns(value: str) -> float:
    """How often, a character, the kind of character changes: over a half in random ones, little in names."""
    kinds = [(c.isupper(), c.isdigit()) for c in value if c != "_"]
    return sum(a != b for a, b in pairwise(kinds)) / max(1, len(kinds))
