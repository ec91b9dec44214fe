"""``fairseq-train`` for torchrun: ``torchrun --nproc_per_node 2 -m bnb_fairseq.cli.train DATA ...``.

It takes the arguments of ``fairseq-train``. ``--user-dir`` may be left out.
"""

import logging
from argparse import ArgumentParser
from pathlib import Path

from torch import distributed

from .. import plugin  # noqa: F401  (fairseq reads the architectures before it knows --user-dir)
from ..processes import check_command_line, join_torchrun

PACKAGE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Train, as one of several processes where torchrun has started several.

    Raises:
        ValueError: if options contradict torchrun, or fairseq cannot start the processes that they ask for.
    """
    check_command_line()
    logging.getLogger().handlers.clear()  # fairseq's command sets up the log on import, unless somebody has before it
    from fairseq_cli.train import cli_main

    cli_main(_set_defaults)
    if distributed.is_initialized():
        distributed.destroy_process_group()  # else its threads may abort the process as Python ends


def _set_defaults(parser: ArgumentParser) -> None:
    """Set the defaults of fairseq's parser, which calls this before it parses."""
    parser.set_defaults(user_dir=str(PACKAGE))
    join_torchrun(parser)


if __name__ == "__main__":
    main()
