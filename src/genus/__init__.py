"""genus: generative models from your own data, on the machine you have, and proof of what they made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Dataset", "Run", "__version__", "compare", "load", "make"]

if TYPE_CHECKING:
    from genus.compare import compare
    from genus.data.dataset import Dataset
    from genus.make import make
    from genus.run import Run, load

_HOME = {
    "Dataset": "genus.data.dataset",
    "Run": "genus.run",
    "compare": "genus.compare",
    "load": "genus.run",
    "make": "genus.make",
}


def __getattr__(name: str) -> Any:
    """Public names are fetched when first used, so that `import genus` costs nothing (and no torch)."""
    if name not in _HOME:
        raise AttributeError(f"module 'genus' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(
        import_module(_HOME[name]), name
    )  # `make` and `compare` are modules' names too: see there
    return found


def __dir__() -> list[str]:
    """What there is to be fetched, too."""
    return sorted({*globals(), *__all__})
