"""The same data and budget for several recipes: a page and JSON that say with numbers which to use."""

import sys
from types import ModuleType
from typing import final

from genus.compare.stage import Compared, compare

__all__ = ["Compared", "compare"]


@final
class _Module(ModuleType):
    """`genus.compare(...)` works although importing this package has put the module where the function belongs."""

    __call__ = staticmethod(compare)


sys.modules[__name__].__class__ = _Module
