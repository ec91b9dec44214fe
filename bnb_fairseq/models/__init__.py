"""Models, registered on import."""

from . import bert2bert, bnb_transformer

__all__ = ["bert2bert", "bnb_transformer"]
