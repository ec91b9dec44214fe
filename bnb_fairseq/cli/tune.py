r"""Find the options of the CTC search (--ctc-beam) that translate a validation set best.

    bnb-tune data-bin --path checkpoint_best.pt --ctc-lm-path lm.arpa \
        --ctc-lm-weight 0.2 0.3 0.4 --ctc-token-bonus 0 1 2

Every combination of the values given is tried. BLEU is the one of --eval-bleu: the target's own text against the
detokenised output. Standard output gets a table, the best combination first, and its options.
"""

import argparse
import itertools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.tuning import Setting, table, try_settings
from .errors import one_line_errors

NAME = "bnb-tune"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--path", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint of bnb_transformer under CTC")
    add("--gen-subset", default="valid", metavar="PART", help="part of the data to translate (default: valid)")
    add("--batch-size", type=int, default=64, metavar="N", help="sentences in a batch (default: 64)")
    add("--ctc-beam", type=int, nargs="+", default=[10], metavar="N", help="sizes of the beam (default: 10)")
    add("--ctc-lm-path", metavar="FILE", help="n-gram model (default: none)")
    add("--ctc-lm-weight", type=float, nargs="+", metavar="W", help="its weights; 0: without it (default: 0)")
    add("--ctc-token-bonus", type=float, nargs="+", default=[0.0], metavar="B", help="bonuses (default: 0)")
    add("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    return parser.parse_args(argv)


def make_settings(arguments: argparse.Namespace) -> list[Setting]:
    """Combine the values.

    Args:
        arguments: the command line.

    Returns:
        The combinations, each once.

    Raises:
        ValueError: if an option is out of range or misses another, listing all.
    """
    faults = []
    weights = arguments.ctc_lm_weight or [0.0]
    if not arguments.data.is_dir():
        faults.append(f"DATA_BIN must be a folder made by fairseq-preprocess, but is {arguments.data}")
    if arguments.batch_size < 1:
        faults.append(f"--batch-size must be at least 1, but is {arguments.batch_size}")
    if min(arguments.ctc_beam) < 1:
        faults.append(f"--ctc-beam must be at least 1, but is {min(arguments.ctc_beam)}")
    if (arguments.ctc_lm_path is None) != (arguments.ctc_lm_weight is None):
        faults.append(
            f"--ctc-lm-path and --ctc-lm-weight must be given together, but are {arguments.ctc_lm_path} and "
            f"{arguments.ctc_lm_weight}"
        )
    if faults:
        raise ValueError("; ".join(faults))
    grid = itertools.product(arguments.ctc_beam, weights, arguments.ctc_token_bonus)
    settings = (Setting(beam, arguments.ctc_lm_path if w else None, w, bonus) for beam, w, bonus in grid)
    return list(dict.fromkeys(settings))


def run(arguments: argparse.Namespace) -> None:
    """Try all settings and print the table.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    settings, outcomes = make_settings(arguments), []
    given = (arguments.path, arguments.data, arguments.gen_subset, arguments.batch_size, arguments.cpu)
    for number, outcome in enumerate(try_settings(settings, *given), start=1):
        line = outcome.setting.command_line()
        print(f"[{number}/{len(settings)}] {line}: BLEU {outcome.bleu:.1f}", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    print(table(outcomes))


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors(NAME, ValueError, OSError, ImportError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
