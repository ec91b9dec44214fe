"""Models, registered on import."""

from . import bnb_transformer

__all__ = ["bnb_transformer"]
