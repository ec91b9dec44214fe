"""The shortlist of a model: which target symbols go with a source token, counted on the training pairs."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..data.pair_dataset import SentencePairDataset
from ..folder.shortlist import Integers, Shortlist

ROUNDS = 4  # of expectation maximisation
FREQUENT = 1000  # symbols that every sentence may need
MOST_PAIRS = 50_000  # that are read of more, evenly spaced
Pair = tuple[Integers, Integers]


def count_shortlist(dataset: SentencePairDataset, source_symbols: int, symbols: int, each: int) -> Shortlist:
    """Count the shortlist of a model on its training pairs.

    Args:
        dataset: the pairs.
        source_symbols: S, of the source vocabulary.
        symbols: V, of the output.
        each: symbols of a source token.

    Returns:
        The ``each`` most probable symbols of each source token, and the ``FREQUENT`` most frequent ones.
    """
    count = len(dataset)
    chosen = range(count) if count <= MOST_PAIRS else np.linspace(0, count - 1, MOST_PAIRS).astype(np.int64).tolist()
    items = (dataset[i] for i in chosen)
    pairs = [(item["source"].numpy(), item["target"].numpy()) for item in items]
    frequency = np.bincount(np.concatenate([target for _, target in pairs]), minlength=symbols)
    common = np.sort(np.argsort(-frequency, kind="stable")[:FREQUENT])
    tokens, translations, probabilities = translation_table(pairs, symbols)
    order = np.lexsort((translations, -probabilities, tokens))
    tokens, translations = tokens[order], translations[order]
    begins = np.searchsorted(tokens, np.arange(source_symbols + 1))
    ranks = np.arange(len(tokens)) - begins[tokens]
    kept = ranks < each
    return Shortlist(np.searchsorted(tokens[kept], np.arange(source_symbols + 1)), translations[kept], common)


def translation_table(pairs: Iterable[Pair], symbols: int) -> tuple[Integers, Integers, NDArray[np.float64]]:
    """Estimate p(target symbol | source token) by IBM model 1 (Brown et al. 1993, section 4.1).

    Args:
        pairs: ids of source and target, both with tokens.
        symbols: V, of the targets.

    Returns:
        N source tokens with the N symbols that stand in a sentence with them, and the N probabilities.
    """
    cells, owners, seen = [], [], 0  # a cell is a token of the source beside one of the target, its owner
    for source, target in pairs:
        cells.append((source[:, None] * symbols + target[None, :]).ravel())
        owners.append(np.tile(np.arange(seen, seen + len(target)), len(source)))
        seen += len(target)
    owner = np.concatenate(owners)
    types, of_cell = np.unique(np.concatenate(cells), return_inverse=True)
    token = types // symbols
    probability = np.ones(len(types))
    for _ in range(ROUNDS):
        weights = probability[of_cell]
        expected = np.bincount(of_cell, weights / np.bincount(owner, weights)[owner])
        probability = expected / np.bincount(token, expected)[token]
    return token, types % symbols, probability
