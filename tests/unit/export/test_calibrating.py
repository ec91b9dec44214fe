"""Confidence fitted to a part of the data, with an engine whose tokens are right as often as they say, or half so."""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnb_fairseq.engines.interface import Hypothesis
from bnb_fairseq.export.calibrating import calibrate
from bnb_fairseq.folder.vocabulary import PLAIN_SPECIALS, PlainVocabulary

VOCABULARY = PlainVocabulary([*PLAIN_SPECIALS, *(f"w{i}" for i in range(20))], PLAIN_SPECIALS)
PAIRS = 400


class FakeEngine:
    """Writes word 5 and word 6 for each source; word 5 is sure, word 6 is not."""

    source = target = VOCABULARY
    longest = 8
    batch_tokens = 100

    def side_by_side(self, search: Mapping[str, Any]) -> tuple[Any, int]:
        return self, 1

    def hypotheses(
        self, sources: Sequence[Sequence[int]], nbest: int, search: Mapping[str, Any], terms: None
    ) -> list[list[Hypothesis]]:
        assert nbest == 1 and search == {"ctc_beam": 3}
        assert all(source[0] == VOCABULARY.bos() and 2 < len(source) <= self.longest for source in sources)
        found = Hypothesis([5, 6, VOCABULARY.eos()], [math.log(0.9), math.log(0.6), 0.0], -1.0)
        return [[found] for _ in sources]


def data(sure: float, unsure: float) -> Any:
    """Pairs in which word 5 is right with one probability, and word 6 with the other."""
    eos = VOCABULARY.eos()
    source = [torch.tensor([7, eos]) for _ in range(PAIRS)] + [torch.tensor([eos]), torch.tensor([7] * 9 + [eos])]
    words = [
        [5 if (i * 11) % PAIRS < sure * PAIRS else 8, 6 if (i * 7) % PAIRS < unsure * PAIRS else 9, eos]
        for i in range(PAIRS)
    ]
    target = [torch.tensor(row) for row in words] + [torch.tensor([eos])] * 2
    return SimpleNamespace(
        load_dataset=lambda part: None, dataset=lambda part: Pairs(source, target), src_dict=VOCABULARY
    )


class Pairs:
    def __init__(self, source: list[Any], target: list[Any] | None) -> None:
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)


def test_an_empty_part_is_refused() -> None:
    empty = SimpleNamespace(load_dataset=lambda part: None, dataset=lambda part: Pairs([], []))
    with pytest.raises(ValueError, match=r"^--calibrate test must have sentences, but is empty$"):
        calibrate(FakeEngine(), empty, "test", {"ctc_beam": 3})  # type: ignore[arg-type]


def test_what_is_right_as_often_as_it_says_stays() -> None:
    found = calibrate(FakeEngine(), data(0.9, 0.6), "valid", {"ctc_beam": 3})  # type: ignore[arg-type]
    assert found.tokens == 2 * PAIRS
    assert found.platt.calibrated([0.9, 0.6]).tolist() == pytest.approx([0.9, 0.6], abs=0.01)
    assert found.before < 0.06 and found.after < 0.06  # bins of 53 tokens


def test_what_is_right_half_as_often_is_mended() -> None:
    found = calibrate(FakeEngine(), data(0.45, 0.3), "valid", {"ctc_beam": 3})  # type: ignore[arg-type]
    assert found.platt.calibrated([0.9, 0.6]).tolist() == pytest.approx([0.45, 0.3], abs=0.01)
    assert found.before == pytest.approx(0.375, abs=0.01) and found.after < 0.06
    assert "calibration error 0.375" in found.report("valid") and "(800 tokens)" in found.report("valid")


def test_a_part_without_targets() -> None:
    task = data(0.9, 0.6)
    task.dataset = lambda part: Pairs([], None)
    with pytest.raises(ValueError, match="--calibrate test must have targets, but has none"):
        calibrate(FakeEngine(), task, "test", {})  # type: ignore[arg-type]
