"""The comparison's table."""

import pytest

from bnb_fairseq.evaluation.bootstrap import Significance
from bnb_fairseq.evaluation.comparison import Figures, Speed, format_table


def test_table_layout() -> None:
    figures, speed, significance = Figures, Speed, Significance
    rows = [
        figures("a|b", 0.855, 0.946, 21.55, 52.64, significance(21.58, 1.042, None), speed((1072.11,)), 1.0),
        figures("better", 1.0, 10.0, 30.0, 60.0, significance(30.0, 0.96, 1 / 1001), speed((3.9, 4.06, 4.7)), 0.0042),
        figures("same", 1.0, 0.0, 21.55, 52.64, significance(21.58, 1.042, None)),
        figures("source copied", 1.02, 0.2, 6.8, 24.9),
        figures("reference", 1.0, 0.18),
    ]
    assert format_table(rows, "a|b").split("\n") == [
        "| system | BLEU | mean ± 95% | p | chrF | length ratio | repetition % | sentences/s | ratio |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        r"| a\|b | 21.6 | 21.6 ± 1.0 | baseline | 52.6 | 0.85 | 0.95 | 1,072.1 | 1.00 |",
        "| better | 30.0 | 30.0 ± 1.0 | 0.0010 | 60.0 | 1.00 | 10.00 | 4.1 ±10% | 0.00 |",
        "| same | 21.6 | 21.6 ± 1.0 | equal | 52.6 | 1.00 | 0.00 | - | - |",
        "| source copied | 6.8 | - | - | 24.9 | 1.02 | 0.20 | - | - |",
        "| reference | - | - | - | - | 1.00 | 0.18 | - | - |",
    ]


def test_median_and_spread() -> None:
    speed = Speed((30.0, 10.0, 20.0, 100.0))
    assert speed.median() == 25
    assert speed.spread() == pytest.approx(90 / 2 / 25, abs=1e-12)
    assert Speed((7.0,)).spread() == 0
