"""The usual rules of each medium: what a recipe gets that names none. The order is that of reasons: the first rule that
removes an item gives the reason.
"""

from __future__ import annotations

from genus.clean.damage import ControlCharacters, Mojibake, ReplacementCharacters
from genus.clean.exact import ExactDuplicates
from genus.clean.language import Language
from genus.clean.near import NearDuplicates
from genus.clean.pictures import AlikePictures, Blank
from genus.clean.private import Card, Email, Iban, Ip, Phone
from genus.clean.prose import Boilerplate, LineShape, Repetition, WordShape
from genus.clean.secrets import Secret
from genus.clean.source import DataLike, Generated, Minified
from genus.parts import Part

__all__ = ["usual"]

_DAMAGE: tuple[Part, ...] = (ReplacementCharacters(), Mojibake(), ControlCharacters())
#: Secrets before addresses: the password inside `user:password@host` is no part of an e-mail address.
_PRIVATE: tuple[Part, ...] = (Secret(), Email(), Iban(), Card(), Phone(), Ip())


def usual(medium: str) -> tuple[Part, ...]:
    """The rules for a medium, in order; for one without rules of its own, exact duplicates alone."""
    if medium == "text":
        prose = (Boilerplate(), Repetition(), WordShape(), LineShape())
        return (*_DAMAGE, *prose, Language(), *_PRIVATE, ExactDuplicates(), NearDuplicates())
    if medium == "code":
        near = NearDuplicates(medium="code", marks=True, threshold=0.8)
        return (*_DAMAGE, Generated(), Minified(), DataLike(), *_PRIVATE, ExactDuplicates(), near)
    if medium == "image":
        return (Blank(), ExactDuplicates(), AlikePictures())
    return (ExactDuplicates(),)
