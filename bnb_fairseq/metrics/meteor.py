"""METEOR as NLTK computes it: words match as they are, by their stems, or as synonyms in WordNet."""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sentence_metric import split_words

logger = logging.getLogger(__name__)

METEOR = "meteor"
MISSING = "METEOR is left out: NLTK does not find WordNet ({reason}). To install it: python -m nltk.downloader wordnet"


class WordNetMissingError(LookupError):
    """WordNet is missing or incomplete; the message says how to install it."""


class Meteor:
    """METEOR of texts, each against one reference, with NLTK's defaults: the formula of Banerjee and Lavie 2005.

    With precision P and recall R of matched words, the score is 10 P R / (R + 9 P) times 1 - 0.5 (chunks / matches)^3,
    where a chunk is a run of matches in the same order on both sides.

    Scores are comparable with the mean of ``nltk.translate.meteor_score`` over the same words (lower case, no
    punctuation). They are not comparable with the Java program METEOR 1.5, common in papers on question generation,
    which has other parameters, weighs function words less, and knows paraphrases.

    Raises:
        ImportError: if NLTK is not installed.
        WordNetMissingError: if NLTK finds no WordNet.
    """

    names: tuple[str, ...] = (METEOR,)

    def __init__(self) -> None:
        try:  # it takes more than a second
            from nltk.translate.meteor_score import single_meteor_score
        except ImportError as error:
            raise ImportError("METEOR needs NLTK: pip install nltk") from error
        self._score = single_meteor_score
        self._wordnet = _load_wordnet()

    def scores(self, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """See ``SentenceMetric``; N x 1, 0 where either text has no word."""
        pairs = zip(hypotheses, references, strict=True)
        found = [self._score(split_words(right), split_words(text), wordnet=self._wordnet) for text, right in pairs]
        return 100 * np.array(found, dtype=np.float64).reshape(-1, 1)

    @property
    def signature(self) -> str:
        """See ``SentenceMetric``."""
        numbers = f"wordnet-{self._wordnet.get_version()}|version:nltk-{version('nltk')}"
        return f"nrefs:1|alpha:0.9|beta:3|gamma:0.5|stem:porter|tok:unicode-words|synonyms:{numbers}"


def load_meteor() -> Meteor | None:
    """METEOR; None, with a warning, if WordNet is missing."""
    try:
        return Meteor()
    except WordNetMissingError as error:
        logger.warning("%s", error)
        return None


def _load_wordnet() -> Any:
    """WordNet, loaded at once and in full; NLTK would load it at the first word."""
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    other_languages = LazyCorpusLoader("omw-1.4", WordNetCorpusReader)  # never asked for
    wordnet = LazyCorpusLoader("wordnet", WordNetCorpusReader, other_languages)
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise WordNetMissingError(MISSING.format(reason="corpora/wordnet in its data folders")) from error
    except OSError as error:
        raise WordNetMissingError(MISSING.format(reason=f"incomplete: {error}")) from error
    return wordnet
