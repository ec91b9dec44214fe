"""Which texts of several to return, and which of their tokens are printed; in plain values."""

from collections.abc import Container, Sequence


def best_distinct(
    scores: Sequence[float], texts: Sequence[Sequence[int]], count: int, silent: Container[int]
) -> list[int]:
    """Choose among the texts of a sentence: by score, without those that a better one equals.

    Args:
        scores: of each text; -inf marks a place that holds none.
        texts: the ids of each.
        count: how many to choose.
        silent: ids that are not printed: texts that differ in these alone are equal.

    Returns:
        Indices of at most ``count`` texts, the best first; equal scores keep their order.
    """
    best: dict[tuple[int, ...], int] = {}
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if scores[i] == float("-inf"):
            break
        best.setdefault(tuple(token for token in texts[i] if token not in silent), i)
    return list(best.values())[:count]


def printed(tokens: Sequence[int], silent: Container[int], eos: int) -> list[int]:
    """Choose the tokens of a text that fairseq takes for it; see ``hypotheses.words_and_ends``.

    Args:
        tokens: of the text.
        silent: ids that are not printed: [CLS], [PAD] and [SEP].
        eos: id of [SEP], which may stand in the last place.

    Returns:
        Their indices.
    """
    last = len(tokens) - 1
    return [i for i, token in enumerate(tokens) if token not in silent or (i == last and token == eos)]
