"""Personal data in texts, masked: e-mail, phone, card, IBAN, IP. Each is a shape plus a check that the shape is no
accident (Luhn's digit, ISO 7064's remainder, a numbering plan). Credentials are `genus.clean.secrets`'. Names of
people are not sought: no shape tells them.

Every rule first asks for a character that it cannot do without, so a text without it costs one scan.
"""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar, Literal, final

from genus.clean.rule import Mask, Span

__all__ = ["Card", "Email", "Iban", "Ip", "Phone", "luhn"]

_BEFORE_AT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+'-]{0,62}[A-Za-z0-9_+%-])?$")
_AFTER_AT = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])")
#: Where three groups in a row say phone by themselves (North America), or a plus sign does, or a word before it.
_PHONE = re.compile(
    r"(?<![\w.+/=#-])(?:\+\s?\d[\d ().\u00a0/-]{6,20}\d"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}"
    r"|\(?0\d[\d ()./-]{5,16}\d|\d{3}[ .-]\d{4})(?![\w%]|[.,-]?\d)"
)
_ASKED = re.compile(
    r"(?i)(?:phone|tel(?:efon|éfono|ephone)?|t[ée]l|fax|call|mobile?|cell|handy|whatsapp|sms)\b[^\n\d+(]{0,15}$"
)
_CARD = re.compile(
    r"(?<![\w.+-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-]|\.\d)|(?<![\w.+-])2[2-7]\d{2}(?:[ -]?\d){12}(?![\w-]|\.\d)"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::|[0-9A-Fa-f]{1,4})(?::?[0-9A-Fa-f]{1,4}){0,6}(?![\w:])")
_VERSION = re.compile(r"(?i)(?:version|ver|v|release|section|§|chapter|build|==|>=|<=|~=|oid)[\s.:=\"']{0,3}$")
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

    def spans(self, text: str) -> list[Span]:
        """Shapes first; the library only sees what has one."""
        return [
            Span(found.start(), found.end(), self.mark)
            for found in _PHONE.finditer(text)
            if self._is(found.group(), text[max(0, found.start() - 32) : found.start()])
        ]

    def _is(self, number: str, before: str) -> bool:
        digits = sum(map(str.isdigit, number))
        if not 7 <= digits <= 15:
            return False
        asked = bool(_ASKED.search(before))
        if digits in (10, 11) and re.fullmatch(
            r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([ .-]))\d{3}[ .-]\d{4}", number
        ):
            return True
        if not asked and not number.startswith("+"):
            return False
        import phonenumbers  # 0.1 s to load, and most texts never need it

        for region in (None,) if number.startswith("+") else self.regions:
            try:
                parsed = phonenumbers.parse(number, region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_possible_number(parsed):
                return True
        return asked and digits == 7


@final
class Card(Mask):
    """Payment card numbers: a known issuer's beginning and length, and Luhn's check digit (ISO/IEC 7812)."""

    kind: Literal["clean.private.card"] = "clean.private.card"
    mark: str = "<CARD>"
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def spans(self, text: str) -> list[Span]:
        """In groups or in one piece."""
        return [Span(m.start(), m.end(), self.mark) for m in _CARD.finditer(text) if _issued(m.group())]


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
    return known and len(set(digits)) > 2 and luhn(digits)


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
        """Version and section numbers have the same shape: a word before them, or four single digits, give them away."""
        out = []
        for found in _IPV4.finditer(text):
            said = found.group()
            if (
                len(said) > 7
                and not _VERSION.search(text[max(0, found.start() - 16) : found.start()])
                and self._is(said)
            ):
                out.append(Span(found.start(), found.end(), self.mark))
        if "::" in text or text.count(":") >= 7:
            for found in _IPV6.finditer(text):
                said = found.group()
                if any(map(str.isdigit, said)) and said.count(":") >= 3 and self._is(said):
                    out.append(Span(found.start(), found.end(), self.mark))
        return out

    def _is(self, said: str) -> bool:
        try:
            address = ipaddress.ip_address(said)
        except ValueError:
            return False
        if address.is_loopback or address.is_unspecified or address.is_multicast or said.startswith(("0.", "255.")):
            return False
        return self.private or address.is_global
