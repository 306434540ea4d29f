"""Personal data in texts, masked: e-mail, phone, card, IBAN, IP. Each is a shape plus a check that the shape is no
accident (Luhn's digit, ISO 7064's remainder, a numbering plan). Credentials are `genus.clean.secrets`'. Names of
people are not sought: no shape tells them.

Every rule first asks for a character that it cannot do without, so a text without it costs one scan.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import ClassVar, Literal, final

from genus.clean.rule import Mask, Pile, Span

__all__ = ["Card", "Email", "Iban", "Ip", "Phone", "luhn"]

_BEFORE_AT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+'-]{0,62}[A-Za-z0-9_+%-])?$")
_AFTER_AT = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])")
# Patterns begin with a set of characters, so that the engine skips to them; what must not stand before comes second.
_PHONE = re.compile(r"[+(\d](?<![\w.+/=#*$€£-].)(?:[ ().\u00a0/-]{0,3}\d){6,}(?![\w%]|[.,-]?\d)")
#: North America's shape says phone by itself; elsewhere a plus sign does, or a word before the number.
_NORTH = re.compile(
    r"(?<!\d)(?<!\d\.)(?:1[ .-])?(?:\([2-9]\d{2}\) ?\d{3}[ .-]|[2-9]\d{2}([ .-])\d{3}\1)\d{4}(?!\d|\.\d)"
)
_ASKED = re.compile(
    r"(?i)\b(?:phone|tel(?:efon|éfono|ephone)?|t[ée]l|fax|call|mobile?|cell|handy|whatsapp|sms)\b[^\n\d+(]{0,15}$"
)
_CARD = re.compile(r"[2-6](?<![\w.+-].)\d{3}(?:[ -]?\d){9,15}(?![\w-]|\.\d)")
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_IPV4 = re.compile(r"\d(?<![\w.+-].)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\d)")
_DECIMAL = re.compile(r"(?:^|[\s,a-zA-Z-])-?\d*\.\d*[\s,]$")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}")
_HEX = frozenset("0123456789abcdefABCDEF:")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{0,44}")
_VERSION = re.compile(r"(?i)(?:version|ver|v|release|sections?|§+|chapter|build|==|>=|<=|~=|oid)[\s.:=\"'(]{0,3}$")
#: How long an IBAN of each country is (ISO 13616, the SWIFT registry).
_COUNTRIES = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 ES24 FI18 FO18 FR27
GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27
MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 TR26
UA29 VG24 XK20
"""
_LENGTHS = {word[:2]: int(word[2:]) for word in _COUNTRIES.split()}


@final
class Email(Mask):
    """E-mail addresses. spare: domains that stand for no one (RFC 2606 and 6761 reserve them for examples)."""

    kind: Literal["clean.private.email"] = "clean.private.email"
    mark: str = "<EMAIL>"
    spare: tuple[str, ...] = ()
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def spans(self, text: str) -> list[Span]:
        """Around each @, both ways."""
        out = []
        at = text.find("@")
        while at >= 0:
            after = _AFTER_AT.match(text, at + 1)
            before = _BEFORE_AT.search(text[max(0, at - 65) : at]) if after else None
            if before and after and not after.group().lower().endswith(self.spare or ("\0",)):
                out.append(Span(at - len(before.group()), after.end(), self.mark))
            at = text.find("@", at + 1)
        return out


@final
class Phone(Mask):
    """Phone numbers: international ones by the numbering plans, others in North America's shape, or after a word that
    says so.

    regions: whose plans a number without country code is tried against, where a word before it (tel, phone, fax) asks
    for it.
    """

    kind: Literal["clean.private.phone"] = "clean.private.phone"
    mark: str = "<PHONE>"
    regions: tuple[str, ...] = ("US", "GB", "DE", "FR")
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def among(self, pile: Pile) -> Iterable[int]:
        """Those with enough digits."""
        return pile.numbered

    def spans(self, text: str) -> list[Span]:
        """Shapes first; the library only sees what has one."""
        out = []
        for found in _PHONE.finditer(text):
            number = found.group()
            asked = bool(_ASKED.search(text[max(0, found.start() - 32) : found.start()]))
            # Three numbers with spaces between have the shape too, so a space alone does not say phone.
            north = [m for m in _NORTH.finditer(number) if asked or m.group(1) != " "]
            if north and not number.startswith("+"):
                out += [Span(found.start() + m.start(), found.start() + m.end(), self.mark) for m in north]
            elif (asked or number[0] == "+") and self._is(number):
                out.append(Span(found.start(), found.end(), self.mark))
        return out

    def _is(self, number: str) -> bool:
        digits = re.sub(r"\D", "", number)
        if not 7 <= len(digits) <= 15 or re.fullmatch(r"\+?\d+\.\d+|\+\D.*", number):
            return False
        import phonenumbers  # 0.1 s to load, and most texts never need it

        for region in (None,) if number[0] == "+" else self.regions:
            try:
                parsed = phonenumbers.parse(number, region)
            except phonenumbers.NumberParseException:
                continue
            grouped = len(digits) + (number[0] == "+") < len(number)
            if phonenumbers.is_valid_number(parsed) or (grouped and phonenumbers.is_possible_number(parsed)):
                return True
        return False


@final
class Card(Mask):
    """Payment card numbers: a known issuer's beginning and length, and Luhn's check digit (ISO/IEC 7812)."""

    kind: Literal["clean.private.card"] = "clean.private.card"
    mark: str = "<CARD>"
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def among(self, pile: Pile) -> Iterable[int]:
        """Those with enough digits."""
        return pile.numbered

    def spans(self, text: str) -> list[Span]:
        """In groups or in one piece."""
        out = []
        for found in _CARD.finditer(text):
            said = found.group()
            while said and not _issued(said):
                said = re.sub(r"[ -]?\d*$", "", said) if re.search(r"[ -]", said) else ""  # without its last group
            if said:
                out.append(Span(found.start(), found.start() + len(said), self.mark))
        return out


def _issued(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    groups = re.split(r"[ -]", number)
    if len(groups) > 1 and (len(groups) > 5 or len(groups[0]) != 4 or len(set(re.sub(r"\d", "", number))) > 1):
        return False
    two, three, four, size = int(digits[:2]), int(digits[:3]), int(digits[:4]), len(digits)
    known = (
        (digits[0] == "4" and size in (13, 16, 19))
        or (size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (size == 15 and two in (34, 37))
        or (
            size in (16, 19) and (four == 6011 or two == 65 or 644 <= three <= 649 or 3528 <= four <= 3589 or two == 62)
        )
        or (size == 14 and (two in (36, 38, 39) or 300 <= three <= 305))
    )
    return known and len(set(digits)) > 1 and luhn(digits)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812-1, annex B)."""
    odd = sum(map(int, digits[-1::-2]))
    even = sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (odd + even) % 10 == 0


@final
class Iban(Mask):
    """Bank account numbers: a country, its length, and the remainder 1 modulo 97 (ISO 13616, ISO 7064)."""

    kind: Literal["clean.private.iban"] = "clean.private.iban"
    mark: str = "<IBAN>"
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def among(self, pile: Pile) -> Iterable[int]:
        """Those with enough digits."""
        return pile.numbered

    def spans(self, text: str) -> list[Span]:
        """A capital word may follow in the same breath, so a span that is too long is tried shorter."""
        out = []
        for found in _IBAN.finditer(text):
            size = _LENGTHS.get(found.group()[:2], 0)
            taken = stop = 0
            for stop, char in enumerate(found.group(), 1):
                taken += char != " "
                if taken == size:
                    break
            said = found.group()[:stop]
            plain = said.replace(" ", "")
            rest = found.group()[stop:]
            if size and len(plain) == size and rest[:1] in ("", " "):
                number = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
                if int(number) % 97 == 1:
                    out.append(Span(found.start(), found.start() + stop, self.mark))
        return out


@final
class Ip(Mask):
    """Addresses of machines, of both versions. private: whether to mask also those that mean no one outside a local
    network.
    """

    kind: Literal["clean.private.ip"] = "clean.private.ip"
    mark: str = "<IP>"
    private: bool = True
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def spans(self, text: str) -> list[Span]:
        """Version and section numbers look the same: a word before them, or four single digits, give them away."""
        out = []
        for found in _IPV4.finditer(text):
            said, before = found.group(), text[max(0, found.start() - 24) : found.start()]
            if _DECIMAL.search(before) or _VERSION.search(before):
                continue  # a number among numbers, as in drawings; a version
            if len(said) > 7 and self._is(said):
                out.append(Span(found.start(), found.end(), self.mark))
        reach = 0
        for found in _COLONS.finditer(text) if text.count(":") > 2 else ():
            start = found.start()
            if start < reach:
                continue
            while start > 0 and found.start() - start < 40 and text[start - 1] in _HEX:
                start -= 1
            said = _IPV6.match(text, start).group()  # type: ignore[union-attr]
            before, after = text[start - 1 : start], text[start + len(said) : start + len(said) + 1]
            apart = not (before.isalnum() or before == "_" or after.isalnum() or after == "_")
            if apart and said.count(":") >= 3 and any(map(str.isdigit, said)) and self._is(said):
                reach = start + len(said)
                out.append(Span(start, reach, self.mark))
        return out

    def _is(self, said: str) -> bool:
        try:
            address = ipaddress.ip_address(said)
        except ValueError:
            return False
        if address.is_loopback or address.is_unspecified or address.is_multicast or said.startswith(("0.", "255.")):
            return False
        return self.private or address.is_global
