"""What the prefix beam search judges texts by, beside the model."""

import math

import numpy as np

from .ctc_beam import Array, PrefixScorer
from .ngram import NgramScorer, Spelled, ngram_words
from .options import GeneratorOptions


class TokenBonus:
    """Adds the same to a text for each of its tokens: CTC by itself leaves out what it is unsure of.

    Args:
        bonus: what a token adds.
    """

    most = math.inf  # nothing is saved by asking less

    def __init__(self, bonus: float) -> None:
        self.bonus = bonus

    def start(self) -> int:
        """Return the state of the empty text; all texts have the same."""
        return 0

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """Score each next token: the bonus, B x K x k; see ``PrefixScorer``."""
        return np.full(wanted.shape, self.bonus, np.float32), np.broadcast_to(states[:, :, None], wanted.shape)

    def finish(self, states: Array) -> Array:
        """Score the end of texts, which adds nothing: states B x K -> B x K, float32."""
        return np.zeros(states.shape, np.float32)


def build_scorer(options: GeneratorOptions, dictionary: Spelled) -> PrefixScorer | None:
    """Build the scorer that the options of a search ask for.

    Args:
        options: the options.
        dictionary: the target vocabulary.

    Returns:
        The scorer; None if they ask for none.

    Raises:
        FileNotFoundError: if there is no file ``--ctc-lm-path``.
        ImportError: if that needs KenLM, which is not installed.
        ValueError: if the file is no n-gram model over the vocabulary.
    """
    if options.ctc_lm_path is not None:
        words = ngram_words(dictionary)
        return NgramScorer(options.ctc_lm_path, words, options.ctc_lm_weight, options.ctc_token_bonus)
    return TokenBonus(options.ctc_token_bonus) if options.ctc_token_bonus else None
