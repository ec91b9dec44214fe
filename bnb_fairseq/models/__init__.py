"""Models, registered on import."""

from .. import plugin  # noqa: F401  (what is registered is registered together)
from . import bert2bert, bnb_transformer

__all__ = ["bert2bert", "bnb_transformer"]
