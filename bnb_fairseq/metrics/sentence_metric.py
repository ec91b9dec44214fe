"""The interface of metrics that are a mean over sentences, and the words that they count."""

import unicodedata
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import regex
from numpy.typing import NDArray

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


class SentenceMetric(Protocol):
    """Scores texts one by one; one metric, or several of one kind, ``names``."""

    names: tuple[str, ...]

    def scores(self, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """Percent, N x M: a row for each text, a column for each of ``names``."""

    @property
    def signature(self) -> str:
        """All that the figures depend on, in the style of sacrebleu's signatures."""


def split_words(text: str) -> list[str]:
    """Words of a raw text in lower case and NFC: runs of letters, marks and digits of every script."""
    words: list[str] = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return words
