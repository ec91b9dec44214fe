"""Which words of a source a word of its translation comes from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines.interface import Engine


def alignments(
    engine: "Engine", texts: Sequence[str], translations: Sequence[Sequence[int]], has_segments: bool
) -> list[tuple[list[list[int]], list[int]]]:
    """Align the words of translations with those of their sources.

    Args:
        engine: that wrote the translations.
        texts: the sources, B.
        translations: ids of each translation, B.
        has_segments: whether a source has two segments.

    Returns:
        For each text the source words of each word of the translation, empty if the engine gives no weights; and of
        each token of the translation, [SEP] apart, the word that it lies in.
    """
    source, target = engine.source, engine.target
    tokens = [[token for token in written if token != target.eos()] for written in translations]
    weights = engine.source_weights([source.encode(text, has_segments) for text in texts], tokens)
    words = [target.target_words(written) for written in tokens]
    if weights is None:
        return [([], of_text) for of_text in words]
    numbers = [source.source_words(text, has_segments) for text in texts]
    rows = zip(weights, numbers, words, strict=True)
    return [(_word_alignment(of_text, sources, targets), targets) for of_text, sources, targets in rows]


def _word_alignment(weights: Any, source_words: Sequence[int | None], target_words: Sequence[int]) -> list[list[int]]:
    """Find the source words of each target word: those with at least half of the largest weight.

    A weight counts as far as it exceeds the mean over the text: every token looks at some words, such as a full stop.

    Args:
        weights: T x S.
        source_words: the word of each of the S source tokens; None for a special symbol.
        target_words: the word of each of the T target tokens.

    Returns:
        Of each target word the source words, in order.
    """
    sums: list[dict[int, float]] = [{} for _ in range(max(target_words, default=-1) + 1)]
    excess = (weights - weights.mean(axis=0)).clip(min=0) if len(weights) > 1 else weights
    for row, word in zip(excess, target_words, strict=True):
        for weight, number in zip(row.tolist(), source_words, strict=False):  # the canvas may pad the source
            if number is not None:
                sums[word][number] = sums[word].get(number, 0.0) + weight
    return [
        sorted(number for number, weight in of_word.items() if weight > 0 and weight >= max(of_word.values()) / 2)
        for of_word in sums
    ]
