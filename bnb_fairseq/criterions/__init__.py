"""Criterions, registered on import."""

from . import bnb_loss

__all__ = ["bnb_loss"]
