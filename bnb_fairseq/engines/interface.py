"""The interface of the engines, in plain values, so that what uses it needs no library of tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..folder.vocabulary import Vocabulary


class Hypothesis(NamedTuple):
    """A text that a model wrote.

    Attributes:
        tokens: ids, perhaps with an end symbol in the last place.
        scores: log-probability of each token.
        score: by which texts are ordered.
    """

    tokens: list[int]
    scores: list[float]
    score: float


class Engine(Protocol):
    """Translates ids; threads may share it.

    Attributes:
        source: the source vocabulary.
        target: the target vocabulary.
        longest: the longest source, [CLS] and [SEP] counted.
        options: the options that it reads, with the values of the plainest translation.
        batch_tokens: source tokens that it translates at once with the least time for each, padding included.
    """

    source: Vocabulary
    target: Vocabulary
    longest: int
    options: Mapping[str, Any]
    batch_tokens: int

    def hypotheses(
        self, sources: Sequence[Sequence[int]], nbest: int, search: Mapping[str, Any]
    ) -> list[list[Hypothesis]]:
        """Translate a batch.

        Args:
            sources: ids of each source, not empty and not too long.
            nbest: hypotheses wanted of each.
            search: options by name; ``ctc_lm_path`` names the language model.

        Returns:
            For each source at most ``nbest`` hypotheses, the best first.

        Raises:
            ValueError: if options do not fit the model or each other.
        """
