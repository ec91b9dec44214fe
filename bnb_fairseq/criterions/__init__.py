"""Criterions, registered on import."""

from .. import plugin  # noqa: F401  (what is registered is registered together)
from . import bnb_loss

__all__ = ["bnb_loss"]
