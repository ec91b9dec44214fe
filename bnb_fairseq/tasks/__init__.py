"""Tasks, registered on import."""

from . import pretraining_bnb, question_generation_bnb, sentence_prediction_bnb, translation_bnb

__all__ = ["pretraining_bnb", "question_generation_bnb", "sentence_prediction_bnb", "translation_bnb"]
