"""Scorers of texts in the prefix beam search, beside the model."""

import math

import numpy as np

from .ctc_beam import Array, PrefixScorer
from .ngram import NgramScorer, Spelled, ngram_words
from .options import GeneratorOptions


class TokenBonus:
    """Adds the same gain for each token of a text: CTC alone drops uncertain words.

    Args:
        bonus: gain of a token.
    """

    most = math.inf  # nothing is saved by asking less

    def __init__(self, bonus: float) -> None:
        self.bonus = bonus

    def start(self) -> int:
        """State of the empty text, and of all others."""
        return 0

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """The bonus, B x K x k; see ``PrefixScorer``."""
        return np.full(wanted.shape, self.bonus, np.float32), np.broadcast_to(states[:, :, None], wanted.shape)

    def finish(self, states: Array) -> Array:
        """Zeros, B x K, float32."""
        return np.zeros(states.shape, np.float32)


def build_scorer(options: GeneratorOptions, dictionary: Spelled) -> PrefixScorer | None:
    """The scorer of a search; None without a language model and a bonus. Raises as ``NgramScorer``."""
    if options.ctc_lm_path is not None:
        words = ngram_words(dictionary)
        return NgramScorer(options.ctc_lm_path, words, options.ctc_lm_weight, options.ctc_token_bonus)
    return TokenBonus(options.ctc_token_bonus) if options.ctc_token_bonus else None
