"""The benchmark's picture: throughput over batch size, drawn from its tables."""

import re
from pathlib import Path
from typing import NamedTuple

MOST = 6  # systems in a picture, so that it stays readable at half its size
FIRST = (  # drawn before others
    "bnb ctc, one pass",
    "bnb length, one pass",
    "bert2bert, beam 5",
    "bert2bert, 1 decoder layer, greedy",
    "CTranslate2 int8, greedy",
    "nonautoregressive_transformer, one pass",
)
LINES = ("o-", "s-", "D--", "^--", "v:", "P:")
COLUMN = re.compile(r"batch (\w+): ms/sentence")
CELL = re.compile(r"([\d.]+) ±\d+%(?: \((\d+)\))?")


class Panel(NamedTuple):
    """The curves of one size.

    Attributes:
        title: size and precision.
        curves: for each system, pairs of batch size and sentences per second.
    """

    title: str
    curves: dict[str, list[tuple[int, float]]]


def read_panels(page: str) -> list[Panel]:
    """Read the tables of a page, each with the heading before it.

    Args:
        page: Markdown of ``table.md``, or of a document that holds its tables.

    Returns:
        A panel for each table.

    Raises:
        ValueError: the page has no table of the benchmark.
    """
    panels: list[Panel] = []
    title, columns = "", list[tuple[int, str]]()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif line.startswith("| system | passes |"):
            columns = [(i, found[1]) for i, cell in enumerate(cells) if (found := COLUMN.fullmatch(cell))]
            panels.append(Panel(title, {}))
        elif not line.startswith("|"):
            columns = []
        elif columns and not line.startswith("| ---"):
            timed = [(CELL.fullmatch(cells[i]), name) for i, name in columns]
            curve = [(int(cell[2] or name), 1000 / float(cell[1])) for cell, name in timed if cell is not None]
            panels[-1].curves[cells[0]] = sorted(curve)
    if not panels:
        raise ValueError("--draw needs a page with the benchmark's tables, but it has none")
    return panels


def choose(systems: list[str]) -> list[str]:
    """Choose the systems to draw: those of ``FIRST``, then others in their order, at most ``MOST``."""
    return sorted(systems, key=lambda name: FIRST.index(name) if name in FIRST else MOST)[:MOST]


def draw(page: str, path: Path) -> None:
    """Draw sentences per second over batch size, one panel a table.

    Args:
        page: see ``read_panels``.
        path: PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator

    panels = read_panels(page)
    names = choose(list(panels[0].curves))
    size = (6.5 * len(panels), 6.5)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, panel in zip(axes[0], panels, strict=True):
        for i, name in enumerate(names):
            points = panel.curves.get(name, [])
            look = {"color": f"C{i}", "label": name, "linewidth": 2.5, "markersize": 9}
            axis.plot([batch for batch, _ in points], [speed for _, speed in points], LINES[i], **look)
        axis.set(xscale="log", yscale="log")
        batches = sorted({batch for curve in panel.curves.values() for batch, _ in curve})
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.tick_params(labelsize=16)
        axis.set_xlabel("sentences in a batch", fontsize=17)
        axis.set_title(panel.title, fontsize=17)
        axis.grid(alpha=0.4)
    axes[0][0].set_ylabel("sentences per second", fontsize=17)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(panels), fontsize=16)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
