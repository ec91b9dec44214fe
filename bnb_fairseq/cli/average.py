"""Average the parameters of several checkpoints of one training into a new checkpoint of fairseq.

The new checkpoint has no optimizer state; all else is taken from the best one. It is written completely or not at all.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .command import Command

if TYPE_CHECKING:
    from ..checkpoints.averaging import Checkpoint

USAGE = "%(prog)s (--best K | --last K) SAVE_DIR OUT.pt\n       %(prog)s --checkpoints A.pt [B.pt ...] OUT.pt"


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--best", type=int, metavar="K", help="average the K best in SAVE_DIR by --best-checkpoint-metric")
    add("--last", type=int, metavar="K", help="average the K newest in SAVE_DIR by number of updates")
    add("--checkpoints", action="store_true", help="average the named files")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="inputs, then the file to write")


def find_faults(arguments: Namespace) -> list[str]:
    """Check the number of paths."""
    inputs = len(arguments.paths) - 1
    if inputs == 1 or (inputs and arguments.checkpoints):
        return []
    return ["the paths must be SAVE_DIR and OUT.pt, or after --checkpoints the files to read and OUT.pt"]


def run(arguments: Namespace) -> None:
    """Choose checkpoints, print which, and write their average."""
    from ..checkpoints import averaging

    *sources, output = arguments.paths
    numbers = {"--best": arguments.best, "--last": arguments.last, "--checkpoints": 0}
    option, number = next((option, number) for option, number in numbers.items() if number is not None)
    chosen, lines = averaging.choose(sources, option, number)
    averaging.check_output(output, chosen)
    print("\n".join([*lines, *lay_out(chosen)]), flush=True)
    averaging.write(averaging.average(chosen), output)
    print(f"{output}: the mean of {len(chosen)}; all but the parameters is that of {chosen[0].path}")


def lay_out(chosen: "Sequence[Checkpoint]") -> list[str]:
    """Return the lines of a table of checkpoints."""
    from ..checkpoints.averaging import have_one_metric

    goal = f" ({'higher' if chosen[0].maximize else 'lower'} is better)" if have_one_metric(chosen) else ""
    rows = [("checkpoint", "updates", f"metric{goal}", "copies")]
    rows += [(str(each.path), f"{each.updates:,}", each.result, ", ".join(each.copies) or "-") for each in chosen]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:{widths[2]}}  {d}" for a, b, c, d in rows]


COMMAND = Command("bnb-average", __doc__, add_options, run, find_faults, USAGE)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
