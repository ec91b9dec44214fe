"""An n-gram model read from an ARPA file by its definition: backing off, word by word."""

from collections.abc import Sequence
from pathlib import Path


class SlowNgrams:
    """Logarithms to the base 10, as in the file."""

    def __init__(self, path: Path) -> None:
        self.probs: dict[tuple[str, ...], float] = {}
        self.backoffs: dict[tuple[str, ...], float] = {}
        self.order = 0
        for line in path.read_text(encoding="utf-8").split("\n"):
            fields = line.split("\t")
            if line.endswith("-grams:"):
                self.order += 1
            if len(fields) > 1:
                ngram = tuple(fields[1].split(" "))
                assert len(ngram) == self.order
                assert ngram not in self.probs
                self.probs[ngram] = float(fields[0])
                self.backoffs[ngram] = float(fields[2]) if len(fields) > 2 else 0.0

    def score(self, context: Sequence[str], word: str) -> float:
        """The logarithm of p(word | context)."""
        known = [each if (each,) in self.probs else "<unk>" for each in (*context, word)]
        return self._score(tuple(known[-self.order :]))

    def _score(self, ngram: tuple[str, ...]) -> float:
        if ngram in self.probs:
            return self.probs[ngram]
        return self.backoffs.get(ngram[:-1], 0.0) + self._score(ngram[1:])
