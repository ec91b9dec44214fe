"""ROUGE (Lin 2004), the F1 of Google's ``rouge-score``, over words of every script."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from .sentence_metric import split_words

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")
STEMMED_FROM = 4  # characters; shorter words stay as they are
CACHED_STEMS = 1 << 18


class WordTokenizer:
    """Splits a text into lower-case words and stems them.

    On ASCII text it agrees with rouge-score's own tokenizer, which takes every character but a-z and 0-9 for a space.
    Here letters, marks and digits of every script belong to words: "Größe" is one word, not ``gr`` and ``e``.
    """

    def __init__(self, stem: Callable[[str], str]) -> None:
        self._stem = lru_cache(CACHED_STEMS)(stem)

    def tokenize(self, text: str) -> list[str]:
        """Words of a raw text, those of four characters or more stemmed."""
        return [self._stem(word) if len(word) >= STEMMED_FROM else word for word in split_words(text)]


class Rouge:
    """ROUGE-1, ROUGE-2 and ROUGE-L of texts, each against one reference, with Porter stems.

    ROUGE-L is rouge-score's ``rougeL``, of the whole text. Published figures of long summaries are often ``rougeLsum``,
    which goes sentence by sentence and is usually higher.

    Raises:
        ImportError: if rouge-score is not installed.
    """

    names: tuple[str, ...] = ROUGE_TYPES

    def __init__(self) -> None:
        try:  # it loads NLTK, which takes more than a second
            from nltk.stem.porter import PorterStemmer
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise ImportError("ROUGE needs rouge-score: pip install rouge-score") from error
        self._scorer = RougeScorer(list(ROUGE_TYPES), tokenizer=WordTokenizer(PorterStemmer().stem))

    def scores(self, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """See ``SentenceMetric``; F1, N x 3, a column for each of ``ROUGE_TYPES``, 0 where either text has no word."""
        found = [self._scorer.score(reference, text) for text, reference in zip(hypotheses, references, strict=True)]
        rows = [[100 * score[kind].fmeasure for kind in ROUGE_TYPES] for score in found]
        return np.array(rows, dtype=np.float64).reshape(-1, len(ROUGE_TYPES))

    @property
    def signature(self) -> str:
        """See ``SentenceMetric``."""
        return f"nrefs:1|score:f1|stem:porter|tok:unicode-words|version:rouge-score-{version('rouge-score')}"
