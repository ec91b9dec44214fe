"""The picture of BLEU over speed."""

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from bnb_fairseq.evaluation import comparison_picture as picture
from bnb_fairseq.evaluation.bootstrap import Significance
from bnb_fairseq.evaluation.comparison import Figures, Speed

Draw = Callable[[list[Any], str], Axes]
MakeRow = Callable[..., Any]


@pytest.fixture
def make_row() -> MakeRow:
    """A row of the table whose bootstrap has a mean of its own."""

    def make(name: str, bleu: float, *speeds: float, interval: float = 1.5) -> Any:
        tested = Significance(bleu + 0.25, interval, 0.1)
        return Figures(name, 1, 0, bleu, 50, tested, Speed(speeds) if speeds else None)

    return make


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Draw, and look at what was drawn."""
    kept: list[Any] = []

    def run(rows: list[Any], baseline: str) -> Axes:
        monkeypatch.setattr(plt, "close", kept.append)
        picture.draw(rows, baseline, tmp_path / "picture.png")
        monkeypatch.undo()
        (axes,) = kept[-1].axes
        plt.close(kept[-1])
        assert isinstance(axes, Axes)
        return axes

    return run


def segments(axes: Axes) -> set[tuple[float, ...]]:
    lines = [line for line in axes.collections if isinstance(line, LineCollection)]
    return {tuple(round(float(x), 6) for x in end.ravel()) for line in lines for end in line.get_segments()}


def labels(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_points_bars_and_baseline(draw: Draw, make_row: MakeRow) -> None:
    rows = [make_row("slow one", 20.0, 4.0, 9.0, 5.0), make_row("base", 15.0, 100.0, interval=2.0)]
    axes = draw([*rows, Figures("reference", 1, 0)], "base")
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sentences per second", "BLEU")
    points = [line for line in axes.lines if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    found = {line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0]) for line in points}  # type: ignore[index]
    assert found == {"o": (5.0, 20.0), "s": (100.0, 15.0)}, "the baseline is a square"
    assert {(5.0, 18.75, 5.0, 21.75), (100.0, 13.25, 100.0, 17.25)} < segments(axes), "the samples' mean is the middle"
    assert (4.0, 20.0, 9.0, 20.0) in segments(axes)
    assert [15.0, 15.0] in [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == ":"]  # type: ignore[arg-type]
    assert {label.get_text(): label.get_fontweight() for label in labels(axes)} == {
        "slow one": "normal",
        "base": "bold",
    }
    assert [label.xy for label in labels(axes)] == [(5.0, 20.0), (100.0, 15.0)]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][::2] == [
        "baseline",
        "up: 95% of the bootstrap; across: slowest to fastest round",
    ]


def test_labels_do_not_lie_on_each_other(draw: Draw, make_row: MakeRow) -> None:
    """Twelve points in a heap, others at the borders, long names, and characters that mean something to matplotlib."""
    heap = [make_row(f"a system in the heap, number {i}", 15 + i / 5, 200.0 + 3 * i) for i in range(12)]
    others = [make_row("$x_1$", 19.8, 19.0), make_row("_hidden", 3.6, 198.0), make_row("fast, " * 12, 14.0, 900.0)]
    axes = draw([*heap, *others], "$x_1$")
    boxes = [Text.get_window_extent(label) for label in labels(axes)]
    assert len(boxes) == 15
    assert all(Bbox.intersection(one, other) is None for one, other in combinations(boxes, 2))
    panel = axes.bbox
    assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1 for box in boxes)
    for x, y in axes.transData.transform([label.xy for label in labels(axes)]):
        assert not any(box.contains(x, y) for box in boxes), "no label hides a point"
    assert [label.get_text() for label in labels(axes)][12:14] == ["$x_1$", "_hidden"]
    assert not any(label.get_parse_math() for label in labels(axes))
    assert max(map(len, labels(axes)[14].get_text().split("\n"))) <= 30


@pytest.mark.parametrize(("slowest", "fastest"), [(1999.0, 2000.0), (300.0, 310.0), (2.1, 4.9), (0.3, 40_000.0)])
def test_speeds_can_be_read(slowest: float, fastest: float, draw: Draw, make_row: MakeRow) -> None:
    axes = draw([make_row("a", 10.0, slowest), make_row("b", 12.0, fastest)], "a")
    left, right = axes.get_xlim()
    assert left < slowest < fastest < right
    ticks = [text for text in axes.get_xticklabels() if left <= text.get_position()[0] <= right]
    assert 1 <= len(ticks) <= 20
    if fastest < 2001:
        assert [text.get_text() for text in ticks] == [f"{text.get_position()[0]:,g}" for text in ticks]
    assert all(one.get_position()[0] < other.get_position()[0] for one, other in pairwise(ticks))


def test_systems_without_a_speed(make_row: MakeRow, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    rows = [make_row("measured", 10.0, 5.0), make_row("not", 11.0), Figures("reference", 1, 0)]
    assert picture.draw(rows, "measured", file) == ["not"]
    assert image.imread(file).shape[:2] == (720, 1080)
    assert picture.draw(rows[1:], "not", file) == ["not"], "even where there is none"
