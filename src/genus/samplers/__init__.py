"""Predictor -> x; shared between objectives."""
