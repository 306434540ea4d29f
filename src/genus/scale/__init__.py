"""scale: small models of several sizes, a law through their losses, and what it says of a larger one.

stage   what is trained, fitted and foretold; scale.json
page    scale.html
"""

from genus.scale.stage import Scaled, scale

__all__ = ["Scaled", "scale"]
