"""Classification and regression of texts and pairs of texts: network, data, and task."""

from . import bnb_classifier, sentence_prediction_bnb

__all__ = ["bnb_classifier", "sentence_prediction_bnb"]
