"""Modified Kneser-Ney smoothing against its definition, written with dictionaries, and against KenLM."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnb_fairseq.generation import kneser_ney

from .slow_ngram import SlowNgrams

UNKNOWN, BEGIN, END = 0, 1, 2
WORDS = ["<unk>", "<s>", "</s>", "▁a", "b", "c", "▁d", "e", "never"]
NEVER = 8
Ngram = tuple[int, ...]


def sentences(number: int, seed: int, kinds: int = 5) -> list[list[int]]:
    """Words that depend on the two before them, some of them unknown."""
    source = random.Random(seed)
    text = []
    for _ in range(number):
        sentence = [BEGIN, BEGIN]
        while len(sentence) < 14 and source.random() > 0.1:
            liked = 3 + (sentence[-1] * 2 + sentence[-2]) % kinds
            sentence.append(liked if source.random() < 0.6 else source.choice([3, 3, 3, 4, 4, 5, 6, 7, UNKNOWN]))
        text.append(sentence[2:])
    return text


class Slow:
    """The formulas, n-gram by n-gram."""

    def __init__(self, text: Sequence[Sequence[int]], order: int, min_count: int, discounts: Any) -> None:
        self.order, self.min_count = order, min_count
        self.raw: Counter[Ngram] = Counter()
        for sentence in text:
            padded = (BEGIN, *sentence, END)
            for n in range(1, order + 1):
                self.raw.update(padded[i : i + n] for i in range(len(padded) - n + 1))
        del self.raw[(BEGIN,)]
        self.before: dict[Ngram, set[int]] = {}
        for ngram in self.raw:
            self.before.setdefault(ngram[1:], set()).add(ngram[0])
        self.adjusted = {ngram: self.adjust(ngram) for ngram in self.raw}
        self.discounts = [
            discounts(np.array([a for ngram, a in self.adjusted.items() if len(ngram) == n]))[0]
            for n in range(1, order + 1)
        ]
        self.behind: dict[Ngram, list[int]] = {}
        for ngram in self.raw:
            self.behind.setdefault(ngram[:-1], []).append(ngram[-1])

    def adjust(self, ngram: Ngram) -> int:
        return self.raw[ngram] if len(ngram) == self.order or ngram[0] == BEGIN else len(self.before[ngram])

    def own(self, context: Ngram, word: int) -> float:
        ngram = (*context, word)
        count = self.adjusted.get(ngram, 0)
        if count == 0 or (len(ngram) > 2 and self.raw[ngram] < self.min_count):
            return 0.0
        return (count - self.discounts[len(context)][min(count, 3) - 1]) / self.total(context)

    def total(self, context: Ngram) -> int:
        return sum(self.adjusted[(*context, word)] for word in self.behind[context])

    def prob(self, context: Ngram, word: int) -> float:
        context = context[max(0, len(context) - self.order + 1) :]
        lower = self.prob(context[1:], word) if context else 1 / (len(WORDS) - 1)
        if context not in self.behind or (len(context) > 2 and self.raw[context] < self.min_count):
            return lower
        rest = 1 - sum(self.own(context, other) for other in self.behind[context])
        return self.own(context, word) + rest * lower


def contexts(order: int) -> Iterator[Ngram]:
    """Every context shorter than the order, seen or not, with <s> at its beginning or without."""
    words = [UNKNOWN, *range(3, len(WORDS))]
    for length in range(order):
        yield from itertools.product(words, repeat=length)
        if length:
            yield from ((BEGIN, *rest) for rest in itertools.product(words, repeat=length - 1))


def written(text: Sequence[Sequence[int]], order: int, path: Path, min_count: int = 1) -> Any:
    arrays = [np.array(sentence, dtype=np.int64) for sentence in text]
    orders = kneser_ney.smooth(list(kneser_ney.count(arrays, order, len(WORDS))), min_count)
    kneser_ney.write_arpa(orders, WORDS, path, lambda line: None)
    return orders


def predictable() -> list[int]:
    return [i for i in range(len(WORDS)) if i != BEGIN]


@pytest.mark.parametrize(
    ("order", "number", "min_count"), [(1, 9, 1), (2, 40, 1), (3, 200, 1), (4, 60, 1), (4, 200, 3)]
)
def test_against_the_definition(order: int, number: int, min_count: int, tmp_path: Path) -> None:
    text = sentences(number, seed=order)
    written(text, order, tmp_path / "x.arpa", min_count)
    slow, found = Slow(text, order, min_count, kneser_ney.discounts), SlowNgrams(tmp_path / "x.arpa")
    for context in contexts(min(order, 3)):
        probs = [10 ** found.score([WORDS[i] for i in context], WORDS[word]) for word in predictable()]
        assert probs == pytest.approx([slow.prob(context, word) for word in predictable()], rel=1e-6, abs=0)
        assert sum(probs) == pytest.approx(1, rel=0, abs=1e-6)


def test_kenlm_reads_the_same(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    path = tmp_path / "x.arpa"
    written(sentences(150, seed=1), 4, path)
    model, slow = kenlm.Model(str(path)), SlowNgrams(path)
    assert model.order == 4
    for sentence in sentences(50, seed=2):
        words = [WORDS[i] for i in sentence]
        expected = [slow.score(["<s>", *words[:i]], word) for i, word in enumerate([*words, "</s>"])]
        assert [score for score, *_ in model.full_scores(" ".join(words))] == pytest.approx(expected, rel=0, abs=1e-5)
    for context in contexts(3):
        state, behind = kenlm.State(), kenlm.State()
        start = model.BeginSentenceWrite if context[:1] == (BEGIN,) else model.NullContextWrite
        start(state)
        for word in context[int(context[:1] == (BEGIN,)) :]:
            model.BaseScore(state, WORDS[word], behind)
            state, behind = behind, state
        total = sum(10 ** model.BaseScore(state, WORDS[word], behind) for word in predictable())
        assert total == pytest.approx(1, rel=0, abs=1e-6)


def test_single_words_worked_out_by_hand(tmp_path: Path) -> None:
    """ "▁a b" and "▁a": ▁a and </s> have count 2, b 1, of 5; what the discounts take is shared by 8 words."""
    (order,) = written([[3, 4], [3]], 1, tmp_path / "x.arpa")
    assert order.fell_back
    left = (1 + 1 + 0.5) / 5
    expected = [0, 0, 1 / 5, 1 / 5, 0.5 / 5, 0, 0, 0, 0]
    assert order.probs.tolist() == pytest.approx([e + (i != BEGIN) * left / 8 for i, e in enumerate(expected)])


def test_pairs_worked_out_by_hand(tmp_path: Path) -> None:
    """b follows ▁a three times and c once; c is preceded by two different words, b by one."""
    _, pairs = written([[3, 4], [3, 4], [3, 4], [3, 5], [5]], 2, tmp_path / "x.arpa")
    found = SlowNgrams(tmp_path / "x.arpa")
    singles = {"▁a": 1, "b": 1, "c": 2, "</s>": 2}  # different words before each
    taken = {1: 0.5, 2: 1.0, 3: 1.5}
    left = sum(taken[count] for count in singles.values()) / 6
    lower = {word: (singles[word] - taken[singles[word]]) / 6 + left / 8 for word in singles}
    assert pairs.fell_back
    assert 10 ** found.score(["▁a"], "b") == pytest.approx((3 - 1.5) / 4 + (1.5 + 0.5) / 4 * lower["b"], abs=1e-7)
    assert 10 ** found.score(["▁a"], "c") == pytest.approx((1 - 0.5) / 4 + (1.5 + 0.5) / 4 * lower["c"], abs=1e-7)
    assert 10 ** found.score(["▁a"], "▁a") == pytest.approx((1.5 + 0.5) / 4 * lower["▁a"], abs=1e-7)


def test_discounts() -> None:
    """n1..n4 = 8, 4, 2, 1: Y = 8 / 16."""
    adjusted = np.repeat([0, 1, 2, 3, 4, 9], [5, 8, 4, 2, 1, 3])
    found, fell_back = kneser_ney.discounts(adjusted)
    assert found == pytest.approx((1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2))
    assert not fell_back


@pytest.mark.parametrize("times", [[5, 1, 1, 1, 0], [9, 1, 5, 1, 1], [1, 3, 0, 1, 1], [0, 2, 2, 2, 2]])
def test_counts_that_give_no_discounts(times: list[int]) -> None:
    n1, n2, n3, n4, n5 = times
    found, fell_back = kneser_ney.discounts(np.repeat([1, 2, 3, 4, 5], [n1, n2, n3, n4, n5]))
    expected = n1 > 0 and n2 > 0 and n3 > 0
    if expected:
        y = n1 / (n1 + 2 * n2)
        expected = 0 <= 2 - 3 * y * n3 / n2 <= 2 and 0 <= 3 - 4 * y * n4 / n3 <= 3
    assert fell_back == (not expected)
    if fell_back:
        assert found == (0.5, 1.0, 1.5)


def test_min_count_leaves_out_rare_ngrams(tmp_path: Path) -> None:
    text = sentences(100, seed=3)
    everything = written(text, 4, tmp_path / "x.arpa")
    common = written(text, 4, tmp_path / "y.arpa", min_count=3)
    slow = Slow(text, 4, 3, kneser_ney.discounts)
    for n in (1, 2):
        assert len(common[n - 1].words) == len(everything[n - 1].words)
    for n in (3, 4):
        wanted = {ngram for ngram, times in slow.raw.items() if len(ngram) == n and times >= 3}
        found = {ngram for ngram in SlowNgrams(tmp_path / "y.arpa").probs if len(ngram) == n}
        assert found == {tuple(WORDS[i] for i in ngram) for ngram in wanted}
        assert len(wanted) < len(everything[n - 1].words)


def test_longer_ngrams_tell_more(tmp_path: Path) -> None:
    held_out, perplexities = sentences(200, seed=12), []
    for order in (1, 2, 3):
        path = tmp_path / f"{order}.arpa"
        written(sentences(2000, seed=11), order, path)
        slow = SlowNgrams(path)
        logs = []
        for sentence in held_out:
            words = [WORDS[i] for i in sentence]
            logs += [slow.score(["<s>", *words[:i]], word) for i, word in enumerate([*words, "</s>"])]
        perplexities.append(math.pow(10, -sum(logs) / len(logs)))
    assert perplexities[0] > 1.05 * perplexities[1] > 1.1 * perplexities[2]


def test_empty_sentences(tmp_path: Path) -> None:
    text: list[list[int]] = [[], [3], [], [3, 3]]
    written(text, 3, tmp_path / "x.arpa")
    slow, found = Slow(text, 3, 1, kneser_ney.discounts), SlowNgrams(tmp_path / "x.arpa")
    assert 10 ** found.score(["<s>"], "</s>") == pytest.approx(slow.prob((BEGIN,), END), rel=1e-6)
    assert slow.raw[(BEGIN, END)] == 2


def test_fewer_digits(tmp_path: Path) -> None:
    (order,) = written([[3, 4], [3]], 1, tmp_path / "x.arpa")
    kneser_ney.write_arpa([order], WORDS, tmp_path / "y.arpa", lambda line: None, digits=2)
    exact, short = (SlowNgrams(tmp_path / f"{name}.arpa") for name in "xy")
    assert exact.score([], "b") == pytest.approx(math.log10(0.5 / 5 + 2.5 / 5 / 8))  # -0.789
    assert short.score([], "b") == -0.79
