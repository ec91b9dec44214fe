"""The interface of the engines, in plain values, so that its users need no tensor library."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..folder.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..generation.glossary import Glossary


class Hypothesis(NamedTuple):
    """An output text of a model.

    Attributes:
        tokens: ids, perhaps with an end symbol in the last place.
        scores: log-probability of each token.
        score: by which texts are ranked.
    """

    tokens: list[int]
    scores: list[float]
    score: float


class CanvasPass(NamedTuple):
    """The canvas of a sentence after a pass.

    Attributes:
        tokens: ids of its positions; None for a blank.
        scores: log-probability of each when it was last predicted.
        again: True: the pass hid the position and predicted it again; never in pass 0.
        kept: True: the token is part of the text, neither a blank nor merged with its left neighbour.
    """

    tokens: list[int | None]
    scores: list[float]
    again: list[bool]
    kept: list[bool]


class AskedTerms(NamedTuple):
    """Glossary terms that occur in the sources of a batch.

    Attributes:
        glossary: the terms.
        rows: for each source, the number of times that each target term is requested.
    """

    glossary: "Glossary"
    rows: list[dict[int, int]]


class Engine(Protocol):
    """Translates ids; threads may share it.

    Attributes:
        source: the source vocabulary.
        target: the target vocabulary.
        longest: the longest source, including [CLS] and [SEP].
        options: the options that it reads, with the values of the plainest translation.
        batch_tokens: source tokens of the batch size with the least time per token, including padding.
    """

    source: Vocabulary
    target: Vocabulary
    longest: int
    options: Mapping[str, Any]
    batch_tokens: int

    def check(self, nbest: int, search: Mapping[str, Any]) -> None:
        """Check options; a ValueError if one is out of range, or does not fit the model or another."""

    def side_by_side(self, search: Mapping[str, Any]) -> "tuple[Engine, int]":
        """The engine to translate several batches with, and how many of them at the same time, each in a thread.

        Args:
            search: options by name.

        Returns:
            An engine with the same texts, perhaps this one, and a number from 1 on.
        """

    def hypotheses(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int,
        search: Mapping[str, Any],
        terms: AskedTerms | None = None,
    ) -> list[list[Hypothesis]]:
        """Translate a batch.

        Args:
            sources: ids of each source, not empty and not too long.
            nbest: largest number of hypotheses for each.
            search: options by name; ``ctc_lm_path`` names the language model.
            terms: requested by a glossary; None: no glossary.

        Returns:
            For each source at most ``nbest`` hypotheses, the best first.

        Raises:
            ValueError: if options do not fit the model or each other, or the model has no search for a glossary.
            OSError: if a graph of the model fails, as a damaged one may.
        """

    def source_weights(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Any] | None:
        """Attention from each token of a text to each source token.

        Args:
            sources: ids of each source.
            texts: ids of one text for each, without special symbols.

        Returns:
            For each an array of T x S weights; None if the model keeps none.
        """

    def canvases(self, sources: Sequence[Sequence[int]], search: Mapping[str, Any]) -> list[list[CanvasPass]] | None:
        """Write sources without a search of texts, and show how.

        Args:
            sources: ids of each source.
            search: options by name; those of a search of texts are not read.

        Returns:
            Of each the canvas after each pass, the first one included; None if the model has no canvas.
        """
