"""The table of bnb-speed, and the sentences and systems that it measures."""

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from bnb_fairseq.evaluation import speed
from bnb_fairseq.evaluation.clock import Timing
from bnb_fairseq.evaluation.speed import Loaded, Row, Searches, format_table, ratio


def test_ratio_is_taken_run_by_run() -> None:
    """The machine was half as fast in the second run, which met both."""
    first, other = Timing(10, [1.0, 2.0, 1.0], None), Timing(10, [0.5, 1.0, 0.25], None)
    assert ratio(first, other) == (2.0, 0.5)  # 2, 2 and 4: half of 4 - 2, as a share of 2
    assert ratio(first, first) == (1.0, 0.0)


def test_table_by_hand() -> None:
    rows = [
        Row(1, "CHECKPOINT: one pass", Timing(20, [1.0, 2.0, 3.0], None), 90),
        Row(1, "--baseline: greedy", Timing(20, [4.0, 8.0, 12.0], None), 100),
        Row(8, "CHECKPOINT: one pass", Timing(20, [0.5, 0.5, 0.5], None), 90),
        Row(8, "--baseline: greedy", Timing(20, [1.0, 2.0, 1.0], None), 100),
    ]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in format_table(rows).splitlines()]
    assert lines[0] == ["batch", "system", "sentences/s", "target tokens/s", "ms/sentence", "ratio"]
    assert lines[2:] == [
        ["1", "CHECKPOINT: one pass", "10.0 ±50%", "45", "100.00", "1.00 ±0%"],
        ["1", "--baseline: greedy", "2.5 ±50%", "12", "400.00", "0.25 ±0%"],
        ["8", "CHECKPOINT: one pass", "40.0 ±0%", "180", "25.00", "1.00 ±0%"],
        ["8", "--baseline: greedy", "20.0 ±50%", "100", "50.00", "0.50 ±25%"],
    ]


class Data:
    """Sentences of the given lengths."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = lengths

    def ordered_indices(self) -> list[int]:
        return sorted(range(len(self.lengths)), key=lambda i: self.lengths[i])

    def size(self, index: int) -> tuple[int, int]:
        return self.lengths[index], 0


def loaded(longest: int, data: Data) -> Loaded:
    return Loaded("x", None, SimpleNamespace(max_positions=lambda: (longest, 9)), data)


def test_sentences_at_even_distances() -> None:
    data = Data(5, 9, 4, 3, 50, 8, 7, 2)
    assert speed.choose_sentences([loaded(60, data)], 4) == [2, 0, 6, 4]  # numbers 0, 2, 4, 6 by length
    assert speed.choose_sentences([loaded(60, data)], 99) == data.ordered_indices()
    both = speed.choose_sentences([loaded(60, data), loaded(8, data)], 3)  # of 0, 2, 3, 5, 6, 7
    assert both == [3, 0, 6]
    with pytest.raises(ValueError, match=r"--gen-subset must have sources of at most 1 tokens"):
        speed.choose_sentences([loaded(1, data)], 3)


def test_special_symbols_are_no_tokens() -> None:
    dictionary = SimpleNamespace(bos=lambda: 0, pad=lambda: 1, eos=lambda: 2)
    assert speed.count_tokens([[0, 5, 6, 2], [], [7, 1, 2]], dictionary) == 3


@pytest.mark.parametrize(
    ("control", "canvas_tokens", "searches", "expected"),
    [
        ("ctc", False, Searches(4, 10, 200), [("one pass", {}), ("--ctc-beam 10", {"ctc_beam": 10})]),
        (
            "ctc",
            True,
            Searches(1, 3, 200),
            [("one pass", {}), ("1 refinement", {"iter_decode_max_iter": 1}), ("--ctc-beam 3", {"ctc_beam": 3})],
        ),
        ("length", True, Searches(4, 10, 9), [("one pass", {}), ("4 refinements", {"iter_decode_max_iter": 4})]),
        ("length", True, Searches(0, 0, 9), [("one pass", {})]),
    ],
)
def test_systems_of_a_model(
    control: str, canvas_tokens: bool, searches: Searches, expected: list[tuple[str, Any]], make_model: Any
) -> None:
    model = make_model(length_control=control, canvas_tokens=canvas_tokens)
    task = SimpleNamespace(build_generator=lambda models, args: args)
    found = speed.systems_of(Loaded("CHECKPOINT", task, model, None), searches)
    assert [(system.name, vars(system.generator)) for system in found] == [
        (f"CHECKPOINT: {name}", options) for name, options in expected
    ]


def test_systems_of_an_autoregressive_model() -> None:
    task = SimpleNamespace(build_generator=lambda models, args: args)
    greedy, beam = speed.systems_of(Loaded("--baseline", task, object(), None), Searches(4, 10, 30))
    assert (greedy.name, beam.name) == ("--baseline: greedy", "--baseline: beam 5")
    assert greedy.generator == Namespace(beam=1, max_len_a=0.0, max_len_b=30)
    assert beam.generator == Namespace(beam=5, max_len_a=0.0, max_len_b=30)
