"""Optimizers, registered on import."""

from . import bnb_adam

__all__ = ["bnb_adam"]
