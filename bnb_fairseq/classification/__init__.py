"""Language understanding, a text or a pair of texts to a class or a number: network, data, and task."""

from . import bnb_classifier, sentence_prediction_bnb

__all__ = ["bnb_classifier", "sentence_prediction_bnb"]
