"""Open weights in and out: folders of Hugging Face and GGUF files become runs, and runs become these.

    packing, gguf      number formats; the file
    layout, configs    what published files call the weights and the settings of `networks.decoder`
    vocabulary         tokenizers, templates, special tokens
    source, intake     in
    parity, outlet     out; every export is read back and compared
    adapters           out, where an adapter was trained: the correction alone

Fetched when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Brought", "Given", "bring", "give", "give_adapter"]

if TYPE_CHECKING:
    from genus.exchange.adapters import give_adapter
    from genus.exchange.intake import Brought, bring
    from genus.exchange.outlet import Given, give

_HOME = {
    "give_adapter": "genus.exchange.adapters",
    **dict.fromkeys(("Brought", "bring"), "genus.exchange.intake"),
    **dict.fromkeys(("Given", "give"), "genus.exchange.outlet"),
}


def __getattr__(name: str) -> Any:
    """Public names arrive with their module."""
    if name not in _HOME:
        raise AttributeError(f"module 'genus.exchange' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
