r"""Measure how fast a checkpoint translates your data, beside a baseline.

    bnb-speed run-ctc/checkpoint_best.pt --data data-bin --baseline run-b2b/checkpoint_best.pt

CHECKPOINT translates with one pass, with refinement if it was trained with --canvas-tokens, and with --ctc-beam if it
was trained under CTC. An autoregressive checkpoint translates greedily and with beam 5. All are loaded into one process
and translate the same sentences in turns, so that a slow moment of the machine meets all of them.

The table has a row for each batch size and system:

sentences/s      of the median run ± half the distance between the slowest and the fastest run, in percent
target tokens/s  tokens of the output, special symbols not counted
ms/sentence      milliseconds of the median run for each sentence
ratio            of sentences/s to the first row of the same batch size: the median over the runs ± half their range

Timed is all from padded ids to output ids on the CPU, with transfers and search; not tokenization.
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .command import Command, add_cpu, add_part, find_data_bin_faults, find_small

AT_LEAST = {
    "sentences": 1,
    "batch_sizes": 1,
    "runs": 1,
    "iter_decode_max_iter": 0,
    "ctc_beam": 0,
    "max_len_b": 1,
    "threads": 1,
}
VERSIONS = ("torch", "fairseq", "numpy")


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint to measure")
    add("--data", type=Path, required=True, dest="data_bin", metavar="DATA_BIN", help="folder of fairseq-preprocess")
    add("--baseline", type=Path, metavar="CHECKPOINT", help="checkpoint to compare with, such as a bert2bert")
    add_part(parser, "--gen-subset", "test")
    add("--sentences", type=int, default=200, metavar="N", help="sentences to translate (default: 200)")
    text = "sentences in a batch (default: 1 8 32)"
    add("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], metavar="N", help=text)
    add("--runs", type=int, default=3, metavar="N", help="counted runs of each system (default: 3)")
    text = "refinement passes after pass 0; 0: no such row (default: 4)"
    add("--iter-decode-max-iter", type=int, default=4, metavar="N", help=text)
    add("--ctc-beam", type=int, default=10, metavar="N", help="beam size, in texts; 0: no such row (default: 10)")
    text = "most target tokens of an autoregressive checkpoint (default: 200)"
    add("--max-len-b", type=int, default=200, metavar="N", help=text)
    add("--threads", type=int, metavar="N", help="threads of the CPU (default: torch's)")
    add_cpu(parser)


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    return [*find_data_bin_faults(arguments.data_bin), *find_small(arguments, AT_LEAST)]


def run(arguments: Namespace) -> None:
    """Load, translate in turns, and print the table."""
    import torch

    from ..evaluation import speed
    from ..evaluation.machine import describe_machine

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = speed.default_device(arguments.cpu)
    paths = {"CHECKPOINT": arguments.checkpoint, "--baseline": arguments.baseline}
    checkpoints = [
        speed.load(option, path, arguments.data_bin, arguments.gen_subset, device)
        for option, path in paths.items()
        if path is not None
    ]
    searches = speed.Searches(arguments.iter_decode_max_iter, arguments.ctc_beam, arguments.max_len_b)
    systems = [system for loaded in checkpoints for system in speed.systems_of(loaded, searches)]
    sentences = speed.choose_sentences(checkpoints, arguments.sentences)
    rows = speed.measure(systems, sentences, arguments.batch_sizes, device, arguments.runs, say)
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine(device, VERSIONS).items())
    files = [f"{option}: {path}" for option, path in paths.items() if path is not None]
    data = f"{len(sentences):,} sentences of {arguments.gen_subset}"
    about = "; ".join([data, f"{arguments.runs} runs in turns", *files])
    print("\n\n".join([speed.format_table(rows), about, machine]))


COMMAND = Command("bnb-speed", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
