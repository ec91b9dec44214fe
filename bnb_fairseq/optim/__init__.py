"""Optimizers, registered on import."""

from .. import plugin  # noqa: F401  (what is registered is registered together)
from . import bnb_adam

__all__ = ["bnb_adam"]
