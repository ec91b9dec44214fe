r"""Find the options of the search that translate a validation set best.

    bnb-tune data-bin --path checkpoint_best.pt --ctc-lm-path lm.arpa \
        --ctc-lm-weight 0.2 0.3 0.4 --ctc-token-bonus 0 1 2 --ctc-blank-penalty 0 0.5 1

The command tries every combination of the values; --ctc-beam 0 is one pass, which has only the penalty. It prints a
table, the best combination first, and the best options. Use --beam for an autoregressive model, whose n-best list the
n-gram model rescores.
BLEU is that of --eval-bleu: the detokenised output against the target's own text.
"""

import itertools
import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .command import (
    Command,
    add_batch_size,
    add_cpu,
    add_data_bin,
    add_part,
    add_path,
    find_data_bin_faults,
    find_output_faults,
    find_small,
)

if TYPE_CHECKING:
    from ..evaluation.tuning import Setting


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_data_bin(parser)
    add_path(parser, "bnb_transformer under CTC, or bert2bert")
    add_part(parser, "--gen-subset", "valid")
    add_batch_size(parser)
    text = "beam sizes, in texts; 0: one pass (default: 10)"
    add("--ctc-beam", type=int, nargs="+", metavar="N", help=text)
    text = "bert2bert: beam sizes, which are sizes of the n-best list"
    add("--beam", type=int, nargs="+", metavar="N", help=text)
    add("--lenpen", type=float, nargs="+", metavar="L", help="bert2bert: exponents of the length (default: 1)")
    add("--ctc-lm-path", metavar="FILE", help="n-gram model (default: none)")
    add("--ctc-lm-weight", type=float, nargs="+", metavar="W", help="its weights; 0: without it (default: 0)")
    text = "bonuses for each token, in nats (default: 0)"
    add("--ctc-token-bonus", type=float, nargs="+", default=[0.0], metavar="B", help=text)
    text = "penalties subtracted from the blank's logit, in nats (default: 0)"
    add("--ctc-blank-penalty", type=float, nargs="+", metavar="P", help=text)
    add("--output", type=Path, metavar="FILE", help="file for the best options, which bnb-export --search reads")
    add_cpu(parser)


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    faults = [*find_data_bin_faults(arguments.data_bin), *find_small(arguments, {"batch_size": 1, "ctc_beam": 0})]
    faults += find_small(arguments, {"beam": 1})
    for option, needed in (("ctc_beam", None), ("ctc_blank_penalty", None), ("lenpen", "beam")):
        given = getattr(arguments, option)
        if given is not None and (arguments.beam is None) == (needed is not None):
            rule = f"need --{needed}" if needed else "stand without --beam"
            faults.append(f"--{option.replace('_', '-')} must {rule}, but is {given}")
    path, weights = arguments.ctc_lm_path, arguments.ctc_lm_weight
    if (path is None) != (weights is None):
        faults.append(f"--ctc-lm-path and --ctc-lm-weight must be given together, but are {path} and {weights}")
    elif path is not None and not Path(path).is_file():
        faults.append(f"--ctc-lm-path must be a file, but is {path}")
    return faults if arguments.output is None else [*faults, *find_output_faults("--output", arguments.output)]


def make_settings(arguments: Namespace) -> "list[Setting]":
    """Return every combination of the values once."""
    from ..evaluation.tuning import Setting

    beams, penalties = arguments.beam or arguments.ctc_beam or [10], arguments.ctc_blank_penalty or [0.0]
    exponents = (arguments.lenpen or [1.0]) if arguments.beam else [None]
    grid = itertools.product(beams, arguments.ctc_lm_weight or [0.0], arguments.ctc_token_bonus, penalties, exponents)
    settings = (
        Setting(beam, arguments.ctc_lm_path if weight else None, weight, bonus, penalty, exponent)
        if beam
        else Setting(0, None, 0.0, 0.0, penalty)
        for beam, weight, bonus, penalty, exponent in grid
    )
    return list(dict.fromkeys(settings))


def run(arguments: Namespace) -> None:
    """Try all settings and print the table."""
    from ..checkpoints.writing import staging
    from ..evaluation.tuning import table, try_settings

    settings, outcomes = make_settings(arguments), []
    given = (arguments.path, arguments.data_bin, arguments.gen_subset, arguments.batch_size, arguments.cpu)
    for number, outcome in enumerate(try_settings(settings, *given), start=1):
        line = outcome.setting.command_line()
        print(f"[{number}/{len(settings)}] {line}: BLEU {outcome.bleu:.1f}", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    print(table(outcomes))
    if arguments.output is not None:
        best = max(outcomes, key=lambda outcome: outcome.bleu).setting
        with staging(arguments.output.parent) as lent:
            (lent / arguments.output.name).write_text(json.dumps(best.search()) + "\n", encoding="utf-8")


COMMAND = Command("bnb-tune", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
