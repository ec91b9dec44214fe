"""Batches of sources, and what is done with those that hold no word."""

from collections.abc import Mapping, Sequence
from threading import Barrier
from threading import enumerate as enumerate_threads
from typing import Any

import pytest

from bnb_fairseq.engines.batches import EMPTY, batches, in_threads, translate_ids
from bnb_fairseq.engines.interface import AskedTerms, Hypothesis

LENGTHS = (5, 2, 9, 3, 2, 7, 5)
SOURCES = [[0, *range(10 * i, 10 * i + length - 2), 2] for i, length in enumerate(LENGTHS)]


class Recording:
    """Returns three hypotheses for each source, and keeps what it was asked."""

    batch_tokens = 15

    def __init__(self, at_once: int = 1) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.at_once = at_once

    def side_by_side(self, search: Mapping[str, Any]) -> tuple[Any, int]:
        return self, self.at_once

    def hypotheses(
        self, sources: Sequence[Sequence[int]], nbest: int, search: Mapping[str, Any], terms: AskedTerms | None
    ) -> list[list[Hypothesis]]:
        self.asked.append((list(sources), nbest, search, terms))
        return [[Hypothesis([source[1], rank], [-1.0, -1.0], -rank) for rank in range(3)] for source in sources]


@pytest.mark.parametrize(
    ("most_tokens", "most_texts", "expected"),
    [
        (None, None, [[3, 0, 6, 5, 2]]),
        (15, None, [[2], [5], [3, 0, 6]]),
        (13, None, [[2], [5], [6], [3, 0]]),
        (1, None, [[2], [5], [6], [0], [3]]),
        (None, 2, [[2], [6, 5], [3, 0]]),
        (14, 9, [[2], [6, 5], [3, 0]]),
    ],
)
def test_batches(most_tokens: int | None, most_texts: int | None, expected: list[list[int]]) -> None:
    assert batches(SOURCES, most_tokens, most_texts) == expected


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_each_source_gets_its_own_hypotheses(at_once: int) -> None:
    engine = Recording(at_once)
    done: list[list[int]] = []
    found = translate_ids(engine, SOURCES, {"beam": 4}, 2, done=done.append)  # type: ignore[arg-type]
    for i, hypotheses in enumerate(found):
        if i in (1, 4):
            assert hypotheses == [EMPTY]
        else:
            assert [one.tokens for one in hypotheses] == [[10 * i, 0], [10 * i, 1]]
    assert done == [[1, 4], [2], [5], [3, 0, 6]]
    assert [asked[1:] for asked in engine.asked] == [(2, {"beam": 4}, None)] * 3


def test_batches_in_several_threads_at_once() -> None:
    met = Barrier(2)  # passed by two batches together
    assert list(in_threads(lambda number: met.wait(10) * 0 + number, range(4), 2)) == [0, 1, 2, 3]


def test_an_error_ends_all_threads() -> None:
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        raise ValueError(f"batch {number}")

    with pytest.raises(ValueError, match="batch 0"):
        list(in_threads(fail, range(1000), 2))
    assert len(begun) < 1000 and not [thread for thread in enumerate_threads() if thread.name.startswith("batches")]


def test_terms_of_each_batch() -> None:
    engine, glossary, rows = Recording(), object(), [{i: 1} for i in range(len(SOURCES))]
    translate_ids(engine, SOURCES, {}, most_texts=2, terms=AskedTerms(glossary, rows))  # type: ignore[arg-type]
    assert [asked[3].rows for asked in engine.asked] == [[{2: 1}], [{6: 1}, {5: 1}], [{3: 1}, {0: 1}]]
    assert all(asked[3].glossary is glossary for asked in engine.asked)
