"""The picture of a comparison: BLEU or ROUGE-L over sentences per second."""

import textwrap
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from .columns import TESTED
from .comparison import Figures

LABEL_WIDTH = 30  # characters
DISTANCES = (7, 14, 22, 32, 44, 58, 74)  # points between a label and what it names
# Across and up, those between the bars first.
DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
SIDES = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}
WIDE = 30  # times the slowest; speeds that lie farther apart need fewer ticks between powers of ten
CLEARANCE = 3  # pixels around what a label must not cover


class _Point(NamedTuple):
    """A system in the picture: sentences per second with those of its rounds, quality with the bootstrap's 95%."""

    name: str
    speed: float
    slowest: float
    fastest: float
    quality: float
    low: float
    high: float
    colour: str
    baseline: bool


def draw(rows: Sequence[Figures], baseline: str, picture: Path, metric: str = "bleu") -> list[str]:
    """Write the picture; return the names of systems without a speed, which are left out.

    Args:
        rows: the table; rows that were not tested, such as the reference's, are no systems.
        baseline: name of the system to mark.
        picture: file to write; its ending names the format.
        metric: one of ``TESTED``.

    Returns:
        Names of the systems that are left out.
    """
    systems = [row for row in rows if row.tested(metric) is not None]
    points = [point for row in systems if (point := _point(row, baseline, metric)) is not None]
    figure, axes = plt.subplots(figsize=(9, 6), dpi=120, layout="constrained")
    _draw_points(axes, points)
    axes.set_ylabel(TESTED[metric])
    _label(figure, axes, points)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
    return [row.system for row in systems if row.speed is None]


def _point(row: Figures, baseline: str, metric: str) -> _Point | None:
    tested = row.tested(metric)
    if row.speed is None or tested is None:
        return None
    quality, test = tested
    marked = row.system == baseline
    low, high = test.mean - test.interval, test.mean + test.interval
    speeds = (row.speed.median(), min(row.speed.rounds), max(row.speed.rounds))
    return _Point(row.system, *speeds, quality, low, high, "tab:red" if marked else "tab:blue", marked)


def _draw_points(axes: Axes, points: Sequence[_Point]) -> None:
    """Draw everything but the labels."""
    for point in points:
        axes.vlines(point.speed, point.low, point.high, color=point.colour, alpha=0.5)
        axes.hlines(point.quality, point.slowest, point.fastest, color=point.colour, alpha=0.5)
        axes.plot(
            point.speed, point.quality, "s" if point.baseline else "o", color=point.colour, markersize=7, zorder=3
        )
        if point.baseline:
            axes.axhline(point.quality, color=point.colour, linestyle=":", linewidth=1)
            axes.axvline(point.speed, color=point.colour, linestyle=":", linewidth=1)
    axes.plot([], [], "s:", color="tab:red", label="baseline")
    axes.plot([], [], "o", color="tab:blue", label="other systems")
    across = "; across: slowest to fastest round" if any(point.slowest < point.fastest for point in points) else ""
    axes.plot([], [], "-", color="gray", label=f"up: 95% of the bootstrap{across}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize="small", frameon=False)
    axes.set(xscale="log", xlabel="sentences per second")
    axes.grid(alpha=0.3)
    axes.margins(y=0.15)
    if points:
        slowest, fastest = min(point.slowest for point in points), max(point.fastest for point in points)
        axes.set_xlim(slowest / 1.5, fastest * 1.5)  # room for labels, and for a tick at least
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fastest > WIDE * slowest else (1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(figure: Figure, axes: Axes, points: Sequence[_Point]) -> list[Annotation]:
    """Name the points, each label where it covers least of what is there."""
    figure.draw_without_rendering()  # gives everything its place
    taken = [box for point in points for box in _boxes(axes, point)]
    labels: list[Annotation] = []
    for point in points:
        label = axes.annotate(
            textwrap.fill(point.name, LABEL_WIDTH),
            (point.speed, point.quality),
            xytext=(0, 0),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": point.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
            fontsize="small",
            fontweight="bold" if point.baseline else "normal",
            color=point.colour,
            parse_math=False,  # a "$" is a character like any other
        )
        label.set_in_layout(False)
        best: tuple[float, float, tuple[int, int]] | None = None
        for distance, direction in product(DISTANCES, DIRECTIONS):
            _move(label, distance, direction)
            covered = _covered(_extent(label), taken, axes.bbox)
            if best is None or covered < best[0]:
                best = (covered, distance, direction)
            if not covered:
                break
        if best is not None:
            _move(label, *best[1:])
        taken.append(_extent(label))
        labels.append(label)
    return labels


def _move(label: Annotation, distance: float, direction: tuple[int, int]) -> None:
    """Put a label beside its point, aligned to the side that faces it."""
    across, up = direction
    label.set_position((distance * across, distance * up))
    label.set(ha=SIDES[across][0], va=SIDES[up][1])


def _extent(label: Annotation) -> Bbox:
    """Return what a label covers, in pixels, without the line to its point."""
    label.get_window_extent()  # the text follows its position
    return Text.get_window_extent(label)


def _boxes(axes: Axes, point: _Point) -> list[Bbox]:
    """Return what a point and its bars cover, in pixels."""
    (x, y), (_, low), (_, high), (left, _), (right, _) = axes.transData.transform(
        [
            (point.speed, point.quality),
            (point.speed, point.low),
            (point.speed, point.high),
            (point.slowest, point.quality),
            (point.fastest, point.quality),
        ]
    )
    marker = Bbox.from_extents(x, y, x, y).padded(2 * CLEARANCE)
    bars = (Bbox.from_extents(x, low, x, high), Bbox.from_extents(left, y, right, y))
    return [marker, *(bar.padded(CLEARANCE) for bar in bars)]


def _covered(label: Bbox, taken: Sequence[Bbox], panel: Bbox) -> float:
    """Measure how much a label covers of what is taken and of what lies outside the panel, in square pixels."""
    shared = [Bbox.intersection(label, box) for box in taken]
    inside = Bbox.intersection(label, panel)
    area = label.width * label.height
    outside = area if inside is None else area - inside.width * inside.height
    return outside + sum(box.width * box.height for box in shared if box is not None)
