"""What genus says when it cannot go on. A message states what was wrong, with the value, and what to do about it."""

from __future__ import annotations


class GenusError(Exception):
    """A failure that the reader can act on; the command line prints it without a traceback and ends with
    `exit_code`.
    """

    exit_code = 1


class UsageError(GenusError):
    """The request itself is off: an unknown name, a value out of range, a missing file."""

    exit_code = 2


class NoLikelihood(GenusError):
    """This family cannot say log p(x); the message says why. Never a silent NaN."""
