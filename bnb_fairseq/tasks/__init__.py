"""Tasks, registered on import."""

from . import translation_bnb

__all__ = ["translation_bnb"]
