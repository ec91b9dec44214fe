"""Distil a teacher: replace the training target of a data-bin folder by the teacher's translations.

    bnb-distill data-bin --teacher checkpoint_best.pt --output distilled

Sequence-level knowledge distillation (Kim and Rush 2016, section 3.2): a student trains on the teacher's best
hypotheses, which vary less than human translations. Non-autoregressive students gain most from it.

OUTPUT/data-bin is a full data-bin folder: sources, dictionaries, tokenizers and the other parts are copies. Its target
holds the ids that the teacher wrote, because a tokenizer may split their text differently. As in the D- lines of
fairseq-generate, special symbols are left out; as in every data-bin folder, [SEP] ends each target. OUTPUT/train.LANG
has the translations as text, for students with another dictionary.

    bnb-distill data-bin --teacher checkpoint_best.pt --output distilled --engine-cluster ray --address auto

The machines of a Ray cluster share the work; all of them see the same files.

If the command is interrupted, run it again: it goes on where it was, and on the same machine ends with the same files.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .command import (
    Command,
    add_batch_size,
    add_cluster,
    add_cpu,
    add_data_bin,
    add_part,
    add_threads,
    find_cluster_faults,
    find_data_bin_faults,
    find_part_faults,
    find_small,
    machines_of,
)

if TYPE_CHECKING:
    from ..bulk.kept import Options

NO_MATTER = ("data_bin", "output", "threads", "engine_cluster", "address", "actors")  # options that change no result
AT_LEAST = {
    "shard_size": 1,
    "beam": 1,
    "max_len_a": 0,
    "max_len_b": 1,
    "iter_decode_max_iter": 0,
    "max_tokens": 1,
    "batch_size": 1,
    "max_source_positions": 2,
}
DEFAULT_MAX_TOKENS = 12000  # fairseq-generate's
GENERATION = ("beam", "max_len_a", "max_len_b", "lenpen", "iter_decode_max_iter")
PRECISIONS = ("highest", "high", "medium")  # of BnbTaskConfig, whose module loads fairseq


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_data_bin(parser)
    add("--teacher", required=True, help="checkpoint; several, separated by colons, translate together")
    add("--output", type=Path, required=True, metavar="OUTPUT", help="new folder, or that of an interrupted run")
    add_part(parser, "--subset", "train")
    add("--shard-size", type=int, default=10000, metavar="N", help="sentences lost at most on a kill (default: 10000)")
    add("--beam", type=int, default=5, metavar="N", help="beam size (default: 5)")
    add("--max-len-a", type=float, default=0.0, metavar="A", help="with B: most tokens of a translation (default: 0)")
    add("--max-len-b", type=int, default=200, metavar="B", help="A x longest source of the batch + B (default: 200)")
    add("--lenpen", type=float, default=1.0, metavar="L", help="length penalty: > 1 favours long outputs (default: 1)")
    add("--iter-decode-max-iter", type=int, default=0, metavar="N", help="refinement passes (default: 0)")
    add("--max-tokens", type=int, metavar="N", help="tokens in a batch with padding (default: 12000, or --batch-size)")
    add_batch_size(parser, None)
    add("--max-source-positions", type=int, metavar="N", help="tokens of the longest source (default: the teacher's)")
    text = "high: TF32 on GPUs; medium: bfloat16 (default: highest)"
    add("--float32-matmul-precision", default="highest", choices=PRECISIONS, help=text)
    add_cpu(parser)
    add_threads(add)
    add_cluster(add, "translate")


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    faults = find_data_bin_faults(arguments.data_bin)
    if not faults:
        faults = find_part_faults(arguments.data_bin, {"--subset": arguments.subset})
    gone = [path for path in arguments.teacher.split(os.pathsep) if not Path(path).is_file()]
    faults += [f"--teacher must name checkpoints, but there is no file {path!r}" for path in gone]
    faults += find_small(arguments, AT_LEAST) + find_cluster_faults(arguments)
    if arguments.output.exists() and not arguments.output.is_dir():
        faults.append(f"--output must be a folder, but {arguments.output} is none")
    return faults


def run_options(arguments: Namespace, cuda: bool) -> "Options":
    """Collect all that the result depends on.

    Args:
        arguments: the command line.
        cuda: whether a GPU translates.

    Returns:
        The options by name; in place of checkpoints and data, hashes of their contents.
    """
    from ..distillation.output import digest, file_digest

    given = {name: value for name, value in vars(arguments).items() if name not in NO_MATTER}
    options = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
    data = digest(path for path in arguments.data_bin.iterdir() if path.is_file())
    teachers = ":".join(file_digest(Path(path)) for path in arguments.teacher.split(os.pathsep))
    return {"DATA_BIN": data, **options, "--teacher": teachers, "--cpu": not cuda}


def run(arguments: Namespace) -> None:
    """Distil, or go on with it; do nothing where it is complete."""
    import torch

    from ..distillation.output import open_output
    from ..distillation.run import Assignment, distil

    if arguments.max_tokens is None and arguments.batch_size is None:
        arguments.max_tokens = DEFAULT_MAX_TOKENS
    with machines_of(arguments) as machines:
        has_gpu = torch.cuda.is_available() if machines is None else machines.has_gpus()
        cuda = has_gpu and not arguments.cpu
        with open_output(arguments.output, run_options(arguments, cuda)) as output:
            if output.data_bin.is_dir():
                print(f"{output.data_bin} is complete, nothing is left to do")
                return
            teachers = [Path(path) for path in arguments.teacher.split(os.pathsep)]
            assignment = Assignment(
                teachers,
                arguments.data_bin,
                arguments.subset,
                {name: getattr(arguments, name) for name in GENERATION},
                arguments.float32_matmul_precision,
                arguments.max_source_positions,
                arguments.max_tokens,
                arguments.batch_size,
                cuda,
                arguments.threads,
            )
            distil(assignment, output, arguments.shard_size, machines)


COMMAND = Command("bnb-distill", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
