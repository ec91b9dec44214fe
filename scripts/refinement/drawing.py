"""The record of one or several sentences as a picture; all places in it are in inches."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from .colours import ATTENTION, CONFIDENCE, MARKS, fill, ink
from .record import Pass, Refinement, Slot

FONT, FONT_SIZE, TITLE_SIZE = "DejaVu Sans", 8, 10  # the font comes with matplotlib
CHARACTER, LINE, GAP = 0.085, 0.18, 0.12  # CHARACTER: more than most texts of FONT_SIZE need for each of theirs
MARGIN = 0.15
UPRIGHT_WIDTH = 14.0  # of a canvas; pieces on a wider one are turned by 90 degrees
DOTS_PER_INCH = 120
MOST_DOTS = 2**16 - 1  # of either side, the renderer's limit


class _Grid(NamedTuple):
    """Where a sentence's slots lie.

    Attributes:
        left: of the first slot.
        width: of a slot.
        height: of a slot.
        turned: whether pieces are turned by 90 degrees.
    """

    left: float
    width: float
    height: float
    turned: bool

    def right(self, slots: int) -> float:
        """Where the last slot ends."""
        return self.left + slots * self.width


def draw(refinements: Sequence[Refinement], picture: Path) -> None:
    """Write the picture.

    Args:
        refinements: the sentences.
        picture: file to write; its ending says in which format.

    Raises:
        ValueError: if it would be too large.
    """
    figure = plt.figure(facecolor="white", dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    grids = [_grid(refinement) for refinement in refinements]
    needed = [grid.right(len(one.attention)) for grid, one in zip(grids, refinements, strict=True)]
    width = max(_legend(axes, MARGIN), *needed) + MARGIN
    top = MARGIN + 0.24
    for refinement, grid in zip(refinements, grids, strict=True):
        top = _draw_sentence(axes, top + 2 * GAP, refinement, grid, width)
    height = top + MARGIN
    try:
        if max(width, height) * DOTS_PER_INCH > MOST_DOTS:
            raise ValueError(
                f"--output must be at most {MOST_DOTS:,} pixels wide and high, but {len(refinements)} sentences need "
                f"{width * DOTS_PER_INCH:,.0f} x {height * DOTS_PER_INCH:,.0f}; give fewer or shorter ones"
            )
        figure.set_size_inches(width, height)
        axes.set(xlim=(0, width), ylim=(height, 0))
        figure.savefig(picture, dpi=DOTS_PER_INCH)
    finally:
        plt.close(figure)


def _grid(refinement: Refinement) -> _Grid:
    longest = max(_width(slot.piece) for made in refinement.passes for slot in made.slots)
    left = MARGIN + GAP + max(map(_width, ["pass 00", *refinement.source]))
    turned = len(refinement.attention) * (longest + GAP) > UPRIGHT_WIDTH
    across, along = max(0.3, longest + GAP), 0.24
    return _Grid(left, along, across, True) if turned else _Grid(left, across, along, False)


def _legend(axes: Axes, top: float) -> float:
    """Explain colours and marks; return where it ends on the right."""
    left = _scale(axes, MARGIN, top, CONFIDENCE, "probability when last predicted:  0", "1")
    for slot, meaning in MARKS:
        _draw_slot(axes, left, top, slot, _Grid(0, 0.24, 0.24, False))
        left = _write(axes, left + 0.32, top + LINE / 2 + 0.03, meaning)
    return left


def _scale(axes: Axes, left: float, top: float, colours: Colormap, low: str, high: str) -> float:
    """Draw a scale of colours between the words for its ends; return where the next thing may stand."""
    left = _write(axes, left, top + 0.12, low) - GAP / 2
    edges = np.linspace(left, left + 1.5, 65)
    axes.pcolormesh(edges, [top, top + 0.24], np.linspace(0, 1, 64)[np.newaxis], cmap=colours, vmin=0, vmax=1)
    return _write(axes, left + 1.5 + GAP / 2, top + 0.12, high)


def _draw_sentence(axes: Axes, top: float, refinement: Refinement, grid: _Grid, width: float) -> float:
    top = _write_lines(axes, MARGIN, top, refinement.sentence, width, TITLE_SIZE)
    top = _write_lines(axes, MARGIN, top, refinement.summary, width) + GAP
    for i, made in enumerate(refinement.passes):
        _write(axes, MARGIN, top + grid.height / 2, f"pass {i}")
        _draw_row(axes, top, made, grid)
        top = _write_lines(axes, grid.left, top + grid.height, made.text, width) + GAP
    return _draw_attention(axes, top, refinement, grid)


def _draw_row(axes: Axes, top: float, made: Pass, grid: _Grid) -> None:
    for i, slot in enumerate(made.slots):
        _draw_slot(axes, grid.right(i), top, slot, grid)


def _draw_slot(axes: Axes, left: float, top: float, slot: Slot, grid: _Grid) -> None:
    back, front = fill(slot.probability), ink(slot.probability)
    axes.add_patch(Rectangle((left, top), grid.width, grid.height, facecolor=back, edgecolor="white", linewidth=0.5))
    if slot.again:
        inset = 0.03  # frames of neighbours stay apart
        size = (grid.width - 2 * inset, grid.height - 2 * inset)
        axes.add_patch(Rectangle((left + inset, top + inset), *size, fill=False, edgecolor=front, linewidth=1.5))
    axes.text(
        left + grid.width / 2,
        top + grid.height / 2,
        slot.piece,
        family=FONT,
        fontsize=FONT_SIZE,
        fontstyle="normal" if slot.kept else "italic",
        color=front,
        rotation=90 if grid.turned else 0,
        ha="center",
        va="center",
        parse_math=False,  # a "$" is a piece like any other
    )


def _draw_attention(axes: Axes, top: float, refinement: Refinement, grid: _Grid) -> float:
    """Draw the heat map, a row for each source piece, under the slots that look there."""
    weights = refinement.attention.numpy().T
    title = f"cross-attention of decoder layer {refinement.layer} in the last pass, mean over heads:  0"
    _scale(axes, grid.left, top, ATTENTION, title, f"{weights.max():.2f}")
    top += 0.24 + GAP / 2
    rows, slots = weights.shape
    columns = [grid.right(i) for i in range(slots + 1)]
    lines = [top + i * LINE for i in range(rows + 1)]
    axes.pcolormesh(columns, lines, weights, cmap=ATTENTION, vmin=0, vmax=weights.max(), edgecolors="white", lw=0.2)
    for i, piece in enumerate(refinement.source):
        _write(axes, grid.left - GAP / 2, lines[i] + LINE / 2, piece, align="right")
    _draw_row(axes, lines[-1], refinement.passes[-1], grid)
    return lines[-1] + grid.height


def _write_lines(axes: Axes, left: float, top: float, text: str, width: float, size: int = FONT_SIZE) -> float:
    """Write a text in as many lines as it needs; return where it ends."""
    fitting = int((width - left - MARGIN) / (CHARACTER * size / FONT_SIZE))
    for line in textwrap.wrap(text, fitting) or [""]:
        _write(axes, left, top + LINE / 2, line, size)
        top += LINE
    return top


def _write(axes: Axes, left: float, middle: float, text: str, size: int = FONT_SIZE, align: str = "left") -> float:
    """Write one line; return where it ends, with a gap."""
    axes.text(left, middle, text, family=FONT, fontsize=size, ha=align, va="center", parse_math=False)
    return left + _width(text, size) + GAP


def _width(text: str, size: int = FONT_SIZE) -> float:
    """Measure a line without drawing it."""
    font = get_font(findfont(FontProperties(family=FONT)))
    font.set_size(size, DOTS_PER_INCH)
    font.set_text(text)
    return font.get_width_height()[0] / 64 / DOTS_PER_INCH
