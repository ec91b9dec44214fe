"""Which of several texts to return, and which of their tokens are printed; in plain values."""

from collections.abc import Container, Sequence


def best_distinct(
    scores: Sequence[float], texts: Sequence[Sequence[int]], count: int, silent: Container[int]
) -> list[int]:
    """Indices of at most ``count`` texts, best first (equal scores keep their order), each unlike all better ones.

    Texts that differ only in ``silent`` ids, which are not printed, are equal; a score of -inf marks an empty place.
    """
    best: dict[tuple[int, ...], int] = {}
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if scores[i] == float("-inf"):
            break
        best.setdefault(tuple(token for token in texts[i] if token not in silent), i)
    return list(best.values())[:count]


def printed(tokens: Sequence[int], silent: Container[int], eos: int) -> list[int]:
    """Indices of a text's tokens that fairseq counts as text; see ``hypotheses.words_and_ends``."""
    last = len(tokens) - 1
    return [i for i, token in enumerate(tokens) if token not in silent or (i == last and token == eos)]
