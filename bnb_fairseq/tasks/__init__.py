"""Tasks, registered on import."""

from . import pretraining_bnb, question_generation_bnb, translation_bnb

__all__ = ["pretraining_bnb", "question_generation_bnb", "translation_bnb"]
