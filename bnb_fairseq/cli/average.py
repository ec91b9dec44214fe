"""Average the parameters of several checkpoints of one training into a new checkpoint of fairseq.

The new checkpoint has no optimizer state; all else in it is that of the best one. It is complete or not there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints import averaging
from .errors import one_line_errors

PROG = "bnb-average"
USAGE = "%(prog)s (--best K | --last K) SAVE_DIR OUT.pt\n       %(prog)s --checkpoints A.pt [B.pt ...] OUT.pt"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__, usage=USAGE)
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--best", type=int, metavar="K", help="take the K best in SAVE_DIR by the training's --best-checkpoint-metric")
    add("--last", type=int, metavar="K", help="take the K newest in SAVE_DIR by number of updates")
    add("--checkpoints", action="store_true", help="take the files that are named")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="what to read; the last: file to write")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Choose checkpoints, print which, and write their average.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    *sources, output = arguments.paths
    if not sources or (not arguments.checkpoints and len(sources) > 1):
        raise ValueError("the paths must be SAVE_DIR and OUT.pt, or after --checkpoints the files to read and OUT.pt")
    numbers = {"--best": arguments.best, "--last": arguments.last, "--checkpoints": 0}
    option, number = next((option, number) for option, number in numbers.items() if number is not None)
    chosen, lines = averaging.choose(sources, option, number)
    averaging.check_output(output, chosen)
    print("\n".join([*lines, *lay_out(chosen)]), flush=True)
    averaging.write(averaging.average(chosen), output)
    print(f"{output}: the mean of {len(chosen)}; all but the parameters is that of {chosen[0].path}")


def lay_out(chosen: Sequence[averaging.Checkpoint]) -> list[str]:
    """Lay checkpoints out as the lines of a table."""
    goal = f" ({'higher' if chosen[0].maximize else 'lower'} is better)" if averaging.have_one_metric(chosen) else ""
    rows = [("checkpoint", "updates", f"metric{goal}", "copies")]
    rows += [(str(each.path), f"{each.updates:,}", each.result, ", ".join(each.copies) or "-") for each in chosen]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:{widths[2]}}  {d}" for a, b, c, d in rows]


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors(PROG, ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
