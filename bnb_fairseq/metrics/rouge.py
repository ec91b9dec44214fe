"""ROUGE (Lin 2004), the F1 of Google's ``rouge-score``, over words that keep letters beyond ASCII."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from .words import split_words

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")
STEMMED_FROM = 4  # characters; shorter words stay as they are
CACHED_STEMS = 1 << 18


class WordTokenizer:
    """Splits a text into lower-case words and stems them.

    On ASCII text its words are those of rouge-score's own tokenizer, which takes every character but a-z and 0-9 for a
    space: "Größe" is ``gr`` and ``e`` there, and a Greek text has no words at all. Here letters, their marks and digits
    of every script are parts of words.

    Args:
        stem: reduces a word to its stem.
    """

    def __init__(self, stem: Callable[[str], str]) -> None:
        self._stem = lru_cache(CACHED_STEMS)(stem)

    def tokenize(self, text: str) -> list[str]:
        """Split a text.

        Args:
            text: raw text.

        Returns:
            Its words, those of four characters or more stemmed.
        """
        return [self._stem(word) if len(word) >= STEMMED_FROM else word for word in split_words(text)]


class Rouge:
    """Computes ROUGE-1, ROUGE-2 and ROUGE-L of texts, each against one reference, words stemmed by Porter's rules.

    ROUGE-L is that of the whole text, rouge-score's ``rougeL``. Published figures of summaries of several sentences are
    often ``rougeLsum``, which goes sentence by sentence and is usually higher.

    Attributes:
        names: ``ROUGE_TYPES``.

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
        """Score texts one by one.

        Args:
            hypotheses: N texts.
            references: N texts.

        Returns:
            N x 3, F1 in percent, a column for each of ``ROUGE_TYPES``; 0 where either text has no word.
        """
        found = [self._scorer.score(reference, text) for text, reference in zip(hypotheses, references, strict=True)]
        rows = [[100 * score[kind].fmeasure for kind in ROUGE_TYPES] for score in found]
        return np.array(rows, dtype=np.float64).reshape(-1, len(ROUGE_TYPES))

    @property
    def signature(self) -> str:
        """What the figures depend on, in the manner of sacrebleu's signatures."""
        return f"nrefs:1|score:f1|stem:porter|tok:unicode-words|version:rouge-score-{version('rouge-score')}"
