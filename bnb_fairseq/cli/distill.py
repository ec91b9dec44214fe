"""Distil a teacher: replace the training target of a data-bin folder by the teacher's translations.

    bnb-distill data-bin --teacher checkpoint_best.pt --output distilled

Sequence-level knowledge distillation (Kim and Rush 2016, section 3.2): a student trains on the teacher's best
hypotheses, which vary less than human translations; non-autoregressive students gain most from it.

OUTPUT/data-bin is a full data-bin folder: sources, dictionaries, tokenizers and the other parts are copies. Its target
holds the very ids that the teacher wrote. Taking them from the text instead would tokenize it again, and a tokenizer
splits some words differently than the teacher wrote them. What a hypothesis has of special symbols is left out, the
same as in the ``D-`` lines of fairseq-generate, and [SEP] ends it, as in every target of a data-bin folder.
OUTPUT/train.LANG has the translations as text, for students with another dictionary.

Killed or interrupted, the same command goes on where it was, and ends with the same files on the same machine.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig

from ..distillation.output import Options, digest, file_digest, open_output
from ..distillation.run import distil
from ..distillation.teacher import load_teacher, open_corpus
from ..tasks.config import MATMUL_PRECISION_CHOICES
from .errors import one_line_errors

NAME = "bnb-distill"
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
    add("data_bin", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--teacher", required=True, help="checkpoint; several, separated by colons, translate together")
    add("--output", type=Path, required=True, help="folder to write to: a new one, or one of a run that is to go on")
    add("--subset", default="train", help="part of the data to translate (default: train)")
    add("--shard-size", type=int, default=10000, help="sentences that a kill loses at most (default: 10000)")
    add("--beam", type=int, default=5, help="beam size (default: 5)")
    add(
        "--max-len-a",
        type=float,
        default=0.0,
        help="longest translation: A x longest source of its batch + B (default: 0)",
    )
    add("--max-len-b", type=int, default=200, help="the B of --max-len-a (default: 200)")
    add("--lenpen", type=float, default=1.0, help="length penalty: > 1 favours long translations (default: 1)")
    add("--iter-decode-max-iter", type=int, default=0, help="refinements of a non-autoregressive teacher")
    add("--max-tokens", type=int, help="tokens in a batch, padding included (default: 12000 without --batch-size)")
    add("--batch-size", type=int, help="sentences in a batch")
    add("--max-source-positions", type=int, help="longest source to translate (default: the longest of the teacher)")
    add(
        "--float32-matmul-precision",
        default="highest",
        choices=list(map(str, MATMUL_PRECISION_CHOICES)),
        help="high: TF32 on GPUs; medium: bfloat16 (default: highest)",
    )
    add("--cpu", action="store_true", help="use no GPU")
    arguments = parser.parse_args(argv)
    if arguments.max_tokens is None and arguments.batch_size is None:
        arguments.max_tokens = DEFAULT_MAX_TOKENS
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Check the arguments before anything is loaded.

    Args:
        arguments: the command line.

    Raises:
        ValueError: naming every option that does not, its constraint and its value.
    """
    problems = []
    folder, subset = arguments.data_bin, arguments.subset
    if not list(folder.glob("dict.*.txt")):
        problems.append(f"DATA_BIN must be a folder made by fairseq-preprocess, but is {folder}")
    else:
        parts = sorted({path.name.split(".")[0] for path in folder.glob("*.idx")})
        if subset not in parts:
            problems.append(f"--subset must be a part of {folder} ({', '.join(parts)}), but is {subset}")
    for path in utils.split_paths(arguments.teacher):
        if not Path(path).is_file():
            problems.append(f"--teacher must name checkpoints, but there is no file {path!r}")
    for name, least in AT_LEAST.items():
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            problems.append(f"--{name.replace('_', '-')} must be at least {least}, but is {value}")
    if arguments.output.exists() and not arguments.output.is_dir():
        problems.append(f"--output must be a folder, but {arguments.output} is none")
    if problems:
        raise ValueError("; ".join(problems))


def run_options(arguments: argparse.Namespace, cuda: bool) -> Options:
    """Collect what decides about the result.

    Args:
        arguments: the command line.
        cuda: whether a GPU translates.

    Returns:
        The options by name; checkpoints and data by a hash of their contents.
    """
    options = {f"--{name.replace('_', '-')}": value for name, value in vars(arguments).items()}
    del options["--data-bin"], options["--output"]
    data = digest(path for path in arguments.data_bin.iterdir() if path.is_file())
    teachers = ":".join(file_digest(Path(path)) for path in utils.split_paths(arguments.teacher))
    return {"DATA_BIN": data, **options, "--teacher": teachers, "--cpu": not cuda}


def main() -> None:
    """Distil, or go on with it; nothing is done where it is complete."""
    arguments = parse_arguments()
    cuda = torch.cuda.is_available() and not arguments.cpu
    with one_line_errors(NAME, OSError), ExitStack() as stack:
        with one_line_errors(NAME, ValueError):
            check(arguments)
            output = stack.enter_context(open_output(arguments.output, run_options(arguments, cuda)))
            if output.data_bin.is_dir():
                print(f"{output.data_bin} is complete, nothing is left to do")
                return
            teacher = load_teacher(
                [Path(path) for path in utils.split_paths(arguments.teacher)],
                arguments.data_bin,
                GenerationConfig(**{name: getattr(arguments, name) for name in GENERATION}),
                arguments.float32_matmul_precision,
                arguments.max_source_positions,
                cuda,
            )
            limits = (arguments.max_tokens, arguments.batch_size)
            corpus = open_corpus(teacher, arguments.data_bin, arguments.subset, *limits)
        distil(teacher, corpus, output, arguments.shard_size)


if __name__ == "__main__":
    main()
