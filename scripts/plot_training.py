"""Draw the curves of a training from the log of fairseq-train: loss in training and validation, and validation BLEU.

Of a model with a variational latent also the KL term beside its factor, and the KL of each unit beside the number of
active units, which show a collapse. The log must have been written with ``--log-format simple``.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase

from bnb_fairseq.cli.errors import one_line_errors

VALUE = re.compile(r"\b(num_updates|nll_loss|bleu|kl_factor|kl_loss|kl_unit_\w+|active_units)[= ]([\d.]+)")
TRAINING = re.compile(r"\bepoch \d+:\s+\d+ / \d+ ")  # what --log-file writes lacks the logger's name
COLUMNS = {  # of the table of validations: name in the log -> heading and format
    "num_updates": ("updates", ",.0f"),
    "nll_loss": ("validation NLL (bits)", ".2f"),
    "kl_loss": ("KL (bits)", ".2f"),
    "active_units": ("active units", ".0f"),
    "bleu": ("validation BLEU", ".1f"),
}
OPTIONAL = ("kl_loss", "active_units")
Point = dict[str, float]


def read_curves(lines: Sequence[str]) -> tuple[list[Point], list[Point]]:
    """Collect the points of a log; where a training was resumed, the later line of an update counts.

    Args:
        lines: lines of the log.

    Returns:
        The points of training and of validation, in the order of updates: the values of a line by their names in it.
    """
    curves: tuple[dict[float, Point], dict[float, Point]] = ({}, {})
    for line in lines:
        validation = " valid on " in line
        if not validation and not TRAINING.search(line):
            continue
        point = {name: float(value) for name, value in VALUE.findall(line)}
        if {"num_updates", "nll_loss"} <= point.keys():
            curves[validation][point["num_updates"]] = point
    training, valid = ([curve[update] for update in sorted(curve)] for curve in curves)
    return training, valid


def draw(training: Sequence[Point], validation: Sequence[Point], picture: Path) -> None:
    """Write the picture.

    Args:
        training: points of training.
        validation: points of validation.
        picture: file to write; its ending says in which format.
    """
    variational = any("kl_loss" in point for point in training)
    rows = 3 if variational else 1
    figure, axes = plt.subplots(rows, squeeze=False, sharex=True, figsize=(7, 1 + 3 * rows), layout="constrained")
    panels = list(axes[:, 0])
    _draw_loss(panels[0], training, validation)
    if variational:
        _draw_kl(panels[1], training)
        _draw_units(panels[2], training)
    panels[-1].set(xlabel="updates")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def _draw_loss(left: Axes, training: Sequence[Point], validation: Sequence[Point]) -> None:
    for points, label, style in ((training, "training NLL", "-"), (validation, "validation NLL", "o--")):
        _line(left, points, "nll_loss", style, label)
    left.set(ylabel="NLL of a token (bits)")
    right = None
    if any("bleu" in point for point in validation):
        right = left.twinx()
        _line(right, validation, "bleu", "s-", "validation BLEU", "tab:green")
        right.set(ylabel="BLEU", ylim=(0, None))
    _legend(left, right)


def _draw_kl(left: Axes, training: Sequence[Point]) -> None:
    _line(left, training, "kl_loss", "-", "KL of the latent")
    left.set(ylabel="KL of a token (bits)", ylim=(0, None))
    right = left.twinx()
    _line(right, training, "kl_factor", "-", "KL factor", "tab:orange")
    right.set(ylabel="factor", ylim=(0, None))
    _legend(left, right)


def _draw_units(left: Axes, training: Sequence[Point]) -> None:
    units = sorted({name for point in training for name in point if name.startswith("kl_unit_")})
    for i, name in enumerate(units):
        _line(left, training, name, "-", "_" if i else "KL of each unit", "tab:blue", alpha=0.5)
    left.set(ylabel="KL of a unit (bits)", ylim=(0, None))
    right = left.twinx()
    _line(right, training, "active_units", "-", "active units", "tab:red")
    right.set(ylabel="active units", ylim=(0, len(units) + 0.5))
    _legend(left, right)


def _line(
    axes: Axes,
    points: Sequence[Point],
    name: str,
    style: str,
    label: str,
    color: str | None = None,
    alpha: float | None = None,
) -> None:
    known = [(point["num_updates"], point[name]) for point in points if name in point]
    if known:
        axes.plot(*zip(*known, strict=True), style, label=label, color=color, alpha=alpha, markersize=4)


def _legend(left: Axes, right: Axes | None) -> None:
    """Name the lines of both scales above the panel."""
    handles, labels = left.get_legend_handles_labels()
    if right is not None:
        more, names = right.get_legend_handles_labels()
        handles, labels = handles + more, labels + names
    left.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize="small", frameon=False
    )


def table(validation: Sequence[Point]) -> str:
    """Write the validations as a Markdown table, those of a latent with its KL.

    Args:
        validation: points of validation.

    Returns:
        The table, "-" where a value is missing.
    """
    columns = {
        name: column
        for name, column in COLUMNS.items()
        if name not in OPTIONAL or any(name in point for point in validation)
    }
    rows = [[heading for heading, _ in columns.values()]]
    for point in validation:
        rows.append([f"{point[name]:{form}}" if name in point else "-" for name, (_, form) in columns.items()])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, metavar="LOG", help="log of fairseq-train")
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="picture to write, such as training.png")
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """See that the log can be read and the picture written.

    Args:
        arguments: the command line.

    Raises:
        ValueError: naming every argument that does not fit, its constraint and its value.
    """
    log, picture = arguments.log, arguments.picture
    problems = []
    if log.is_dir() or not log.exists():
        problems.append(f"LOG must be a file, but is {log}")
    endings = [f".{name}" for name in sorted(FigureCanvasBase.get_supported_filetypes())]
    if picture.suffix and picture.suffix.lower() not in endings:
        problems.append(f"PICTURE must end in one of {', '.join(endings)}, but is {picture}")
    if picture.is_dir() or not picture.parent.is_dir():
        problems.append(f"PICTURE must be a file in a folder that exists, but is {picture}")
    if problems:
        raise ValueError("; ".join(problems))


def run(arguments: argparse.Namespace) -> None:
    """Read the log, draw, and print the validations as a table.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    check(arguments)
    training, validation = read_curves(arguments.log.read_text(encoding="utf-8", errors="replace").splitlines())
    if not training and not validation:
        raise ValueError(
            "LOG must have been written with --log-format simple, but "
            f"{arguments.log} holds no lines of training or validation"
        )
    draw(training, validation, arguments.picture)
    print(table(validation))


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors("plot_training", ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
