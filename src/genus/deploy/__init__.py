"""The stage that puts a model to use: generate, score, serve, publish and reproduce. Fetched when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "Anomalies",
    "Between",
    "Compressed",
    "Generated",
    "Published",
    "Reproduced",
    "Scores",
    "Start",
    "Sum",
    "anomalies",
    "app",
    "compress",
    "generate",
    "publish",
    "reproduce",
    "score",
    "serve",
]

if TYPE_CHECKING:
    from genus.deploy.compression import Compressed, compress
    from genus.deploy.oddness import Anomalies, anomalies
    from genus.deploy.origins import Between, Start, Sum
    from genus.deploy.release import Published, publish
    from genus.deploy.reproduction import Reproduced, reproduce
    from genus.deploy.samples import Generated, generate
    from genus.deploy.scores import Scores, score
    from genus.deploy.server import app, serve

_HOME = {
    **dict.fromkeys(("Compressed", "compress"), "genus.deploy.compression"),
    **dict.fromkeys(("Anomalies", "anomalies"), "genus.deploy.oddness"),
    **dict.fromkeys(("Between", "Start", "Sum"), "genus.deploy.origins"),
    **dict.fromkeys(("Generated", "generate"), "genus.deploy.samples"),
    **dict.fromkeys(("Reproduced", "reproduce"), "genus.deploy.reproduction"),
    **dict.fromkeys(("Published", "publish"), "genus.deploy.release"),
    **dict.fromkeys(("Scores", "score"), "genus.deploy.scores"),
    **dict.fromkeys(("app", "serve"), "genus.deploy.server"),
}


def __getattr__(name: str) -> Any:
    """Public names arrive with their module, so that publishing does not load a web server."""
    if name not in _HOME:
        raise AttributeError(f"module 'genus.deploy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
