"""Measures, apart from training so that no loss grades itself; report and gate."""
