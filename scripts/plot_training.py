"""Draw the curves of a training from the log of fairseq-train: loss in training and validation, and validation BLEU.

The log must have been written with ``--log-format simple``.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

VALUE = re.compile(r"\b(num_updates|nll_loss|bleu)[= ]([\d.]+)")


class Point(NamedTuple):
    """One line of the log: number of updates, NLL of a token (bits), and BLEU if it was measured."""

    update: int
    nll: float
    bleu: float | None


def read_curves(lines: Sequence[str]) -> tuple[list[Point], list[Point]]:
    """Collect the points of a log; where a training was resumed, the later line of an update counts.

    Args:
        lines: lines of the log.

    Returns:
        The points of training and of validation, in the order of updates.
    """
    curves: tuple[dict[int, Point], dict[int, Point]] = ({}, {})
    for line in lines:
        validation = " valid on " in line
        if not validation and "| train_inner |" not in line:
            continue
        found = dict(VALUE.findall(line))
        if {"num_updates", "nll_loss"} <= found.keys():
            update = int(found["num_updates"])
            bleu = float(found["bleu"]) if "bleu" in found else None
            curves[validation][update] = Point(update, float(found["nll_loss"]), bleu)
    training, valid = ([curve[update] for update in sorted(curve)] for curve in curves)
    return training, valid


def draw(training: Sequence[Point], validation: Sequence[Point], picture: Path) -> None:
    """Write the picture.

    Args:
        training: points of training.
        validation: points of validation.
        picture: file to write; its ending says in which format.
    """
    figure, left = plt.subplots(figsize=(7, 4), layout="constrained")
    for points, label, style in ((training, "training NLL", "-"), (validation, "validation NLL", "o--")):
        left.plot([point.update for point in points], [point.nll for point in points], style, label=label, markersize=4)
    left.set(xlabel="updates", ylabel="NLL of a token (bits)")
    scored = [(point.update, point.bleu) for point in validation if point.bleu is not None]
    if scored:
        right = left.twinx()
        right.plot(*zip(*scored, strict=True), "s-", color="tab:green", label="validation BLEU", markersize=4)
        right.set(ylabel="BLEU", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small", frameon=False)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def main() -> None:
    """Read the log, draw, and print the validations as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="log of fairseq-train")
    parser.add_argument("picture", type=Path, help="picture to write, such as training.png")
    arguments = parser.parse_args()
    training, validation = read_curves(arguments.log.read_text(encoding="utf-8").splitlines())
    if not training and not validation:
        raise SystemExit(f"{arguments.log} holds no lines of training or validation; was it --log-format simple?")
    draw(training, validation, arguments.picture)
    print("| updates | validation NLL (bits) | validation BLEU |\n|---|---|---|")
    for point in validation:
        print(f"| {point.update:,} | {point.nll:.2f} | {'-' if point.bleu is None else f'{point.bleu:.1f}'} |")


if __name__ == "__main__":
    main()
