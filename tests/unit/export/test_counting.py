"""The shortlist against IBM model 1 written with dictionaries and loops."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.export import counting
from bnb_fairseq.export.counting import ROUNDS, Pair, count_shortlist, translation_table

SOURCE_SYMBOLS, SYMBOLS = 9, 12


def random_pairs(seed: int, count: int = 40) -> list[Pair]:
    random = np.random.default_rng(seed)
    return [
        (random.integers(4, SOURCE_SYMBOLS, random.integers(1, 6)), random.integers(4, SYMBOLS, random.integers(1, 7)))
        for _ in range(count)
    ]


def slow_table(pairs: list[Pair]) -> dict[tuple[int, int], float]:
    """p(target symbol | source token) of those that stand in a sentence together."""
    probability = {(s, t): 1.0 for source, target in pairs for s in source.tolist() for t in target.tolist()}
    for _ in range(ROUNDS):
        expected: dict[tuple[int, int], float] = defaultdict(float)
        for source, target in pairs:
            for t in target.tolist():
                total = sum(probability[s, t] for s in source.tolist())
                for s in source.tolist():
                    expected[s, t] += probability[s, t] / total
        totals: dict[int, float] = defaultdict(float)
        for (s, _), value in expected.items():
            totals[s] += value
        probability = {(s, t): value / totals[s] for (s, t), value in expected.items()}
    return probability


@pytest.mark.parametrize("seed", range(3))
def test_probabilities(seed: int) -> None:
    pairs = random_pairs(seed)
    found = zip(*(each.tolist() for each in translation_table(pairs, SYMBOLS)), strict=True)
    expected = slow_table(pairs)
    by_pair = {(token, symbol): value for token, symbol, value in found}
    assert by_pair == pytest.approx(expected, abs=1e-12)


def test_a_word_gets_its_translation() -> None:
    """Token 4 stands beside 5, 6 and 7 in turns, and symbol 10 wherever 4 stands."""
    pairs = [(np.array([4, other]), np.array([10, other + 3])) for other in (5, 6, 7)] * 3
    tokens, symbols, values = translation_table(pairs, SYMBOLS)
    of_word = {int(symbols[i]): float(values[i]) for i in np.flatnonzero(tokens == 4)}
    assert max(of_word, key=lambda symbol: of_word[symbol]) == 10
    assert of_word[10] > 0.8


def test_the_best_and_the_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "FREQUENT", 3)
    pairs = random_pairs(5)
    sides = [[torch.from_numpy(pair[side]) for pair in pairs] for side in (0, 1)]
    dataset = SentencePairDataset(sides[0], BnbDictionary(), sides[1], BnbDictionary())
    read = [(dataset[i]["source"].numpy(), dataset[i]["target"].numpy()) for i in range(len(pairs))]
    found = count_shortlist(dataset, SOURCE_SYMBOLS, SYMBOLS, 2)
    expected = slow_table(read)
    counts = Counter(symbol for _, target in read for symbol in target.tolist())
    assert found.common.tolist() == sorted(sorted(counts, key=lambda symbol: (-counts[symbol], symbol))[:3])
    assert len(found.offsets) == SOURCE_SYMBOLS + 1
    for token in range(SOURCE_SYMBOLS):
        mine = found.symbols[found.offsets[token] : found.offsets[token + 1]].tolist()
        best = sorted((value for (s, _), value in expected.items() if s == token), reverse=True)[:2]
        assert [expected[token, symbol] for symbol in mine] == pytest.approx(best)


def test_a_sample_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9 pairs the first, the middle one and the last are read."""
    monkeypatch.setattr(counting, "MOST_PAIRS", 3)
    sources = [torch.tensor([4])] * 9
    targets = [torch.tensor([symbol]) for symbol in (4, 5, 5, 5, 6, 7, 7, 7, 8)]
    found = count_shortlist(SentencePairDataset(sources, BnbDictionary(), targets, BnbDictionary()), 6, SYMBOLS, 9)
    mine = found.symbols[found.offsets[4] : found.offsets[5]]
    assert {4, 6, 8} <= set(mine.tolist())
    assert not {5, 7} & set(mine.tolist())
