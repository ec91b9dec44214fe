"""Distil a teacher: replace the training target of a data-bin folder by the teacher's translations.

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
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from distill_output import Options, Output, Shard, digest, file_digest, open_output, shards_of
from distill_teacher import Corpus, Teacher, load_teacher, open_corpus, translate
from fairseq import utils
from numpy.typing import NDArray

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.tasks.config import MATMUL_PRECISION_CHOICES

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
SECONDS_BETWEEN_LINES = 20.0


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    """See that the arguments make sense, before anything is loaded.

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


class Progress:
    """Prints sentences done, speed and remaining time now and then.

    Args:
        sizes: lengths of all sources; the remaining time is reckoned in tokens.
        pending: those that are still to be translated.
    """

    def __init__(self, sizes: NDArray[np.int64], pending: Sequence[Shard]) -> None:
        self._sizes = sizes
        self._before = len(sizes) - sum(shard.end - shard.first for shard in pending)
        self._tokens_left = sum(int(sizes[shard.first : shard.end].sum()) for shard in pending)
        self._sentences = self._tokens = 0
        self._begun = self._shown = time.monotonic()

    def add(self, sentences: Sequence[int]) -> None:
        """Count sentences, given by their numbers, as done; print a line if it is time to."""
        tokens = int(self._sizes[list(sentences)].sum())
        self._sentences += len(sentences)
        self._tokens += tokens
        self._tokens_left -= tokens
        now = time.monotonic()
        if now - self._shown > SECONDS_BETWEEN_LINES or not self._tokens_left:
            self._shown = now
            print(self.line(now - self._begun), flush=True)

    def line(self, seconds: float) -> str:
        """Write the line for so many seconds after the start."""
        done = f"{self._before + self._sentences:,} of {len(self._sizes):,} sentences"
        left = timedelta(seconds=round(seconds * self._tokens_left / max(1, self._tokens)))
        return f"{done}, {self._sentences / max(seconds, 1e-9):,.1f} sentences/s, {left} left"


def distil(teacher: Teacher, corpus: Corpus, output: Output, arguments: argparse.Namespace) -> None:
    """Translate the shards that are not done yet, put the result together, and say what it is.

    Args:
        teacher: the teacher.
        corpus: the data.
        output: the folder to write to.
        arguments: the command line.
    """
    shards = shards_of(len(corpus.sources), arguments.shard_size)
    pending = [shard for shard in shards if not output.has(shard)]
    if len(pending) < len(shards):
        print(f"{len(shards) - len(pending):,} of {len(shards):,} shards were done before", flush=True)
    progress = Progress(corpus.sources.source_sizes, pending)
    for shard in pending:
        output.write_shard(shard, translate(teacher, corpus, shard, progress.add), corpus.data)
    kept, unknown = output.assemble(shards, corpus.data)
    print(
        f"{output.data_bin}: {len(corpus.sources):,} sentences; {kept:,} sources of more than {teacher.longest} tokens "
        f"kept their own target; {unknown:,} translations have {teacher.task.tgt_dict.unk_word}"
    )


def main() -> None:
    """Distil, go on with it, or see that it is done."""
    arguments = parse_arguments()
    cuda = torch.cuda.is_available() and not arguments.cpu
    with one_line_errors("distill", OSError), ExitStack() as stack:
        with one_line_errors("distill", ValueError):
            check(arguments)
            output = stack.enter_context(open_output(arguments.output, run_options(arguments, cuda)))
            if output.data_bin.is_dir():
                print(f"{output.data_bin} is complete, nothing is left to do")
                return
            teacher = load_teacher(arguments, cuda)
            corpus = open_corpus(arguments, teacher)
        distil(teacher, corpus, output, arguments)


if __name__ == "__main__":
    main()
