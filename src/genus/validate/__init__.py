"""Measures, apart from training so that no loss grades itself; report and gate."""

from genus.validate.report import Report, validate

__all__ = ["Report", "validate"]
