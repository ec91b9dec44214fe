"""The small random models of the model tests."""

from ..models.conftest import make_config, make_dictionary, make_model

__all__ = ["make_config", "make_dictionary", "make_model"]
