"""A distillation: translate shard after shard, then join them."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .output import Output, Shard, shards_of
from .teacher import Corpus, Teacher, load_teacher, open_corpus, translate

if TYPE_CHECKING:
    from ..bulk.cluster import Machines

SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """Prints sentences done, speed and remaining time every ``SECONDS_BETWEEN_LINES``.

    Args:
        sizes: tokens of all sources, from which the remaining time is estimated.
        pending: shards that are not translated yet.
    """

    def __init__(self, sizes: NDArray[np.int64], pending: Sequence[Shard]) -> None:
        self._sizes = sizes
        self._before = len(sizes) - sum(shard.end - shard.first for shard in pending)
        self._tokens_left = sum(int(sizes[shard.first : shard.end].sum()) for shard in pending)
        self._sentences = self._tokens = 0
        self._begun = self._shown = time.monotonic()

    def add(self, sentences: Sequence[int]) -> None:
        """Count these sentences, given by number, as done; print a line if one is due."""
        tokens = int(self._sizes[list(sentences)].sum())
        self._sentences += len(sentences)
        self._tokens += tokens
        self._tokens_left -= tokens
        now = time.monotonic()
        if now - self._shown > SECONDS_BETWEEN_LINES or not self._tokens_left:
            self._shown = now
            print(self.line(now - self._begun), flush=True)

    def line(self, seconds: float) -> str:
        """Return the line for a number of seconds after the start."""
        done = f"{self._before + self._sentences:,} of {len(self._sizes):,} sentences"
        left = timedelta(seconds=round(seconds * self._tokens_left / max(1, self._tokens)))
        return f"{done}, {self._sentences / max(seconds, 1e-9):,.1f} sentences/s, {left} left"


class Assignment(NamedTuple):
    """All that a process needs to translate shards: it travels to the machines of a cluster.

    Attributes:
        checkpoints: of the teacher; several translate together.
        data_bin: data-bin folder.
        subset: part of it.
        generation: fairseq's options of the search, by name.
        matmul_precision: value of ``--float32-matmul-precision``.
        longest: tokens of the longest source to translate; None: the teacher's limit.
        max_tokens: most tokens in a batch; None: any number.
        batch_size: most sentences in a batch; None: any number.
        cuda: translate on a GPU.
        threads: on the CPU; None: torch's.
    """

    checkpoints: Sequence[Path]
    data_bin: Path
    subset: str
    generation: Mapping[str, Any]
    matmul_precision: str
    longest: int | None
    max_tokens: int | None
    batch_size: int | None
    cuda: bool
    threads: int | None

    def elsewhere(self) -> "Assignment":
        """Return the same for processes with another working folder, and by default with one thread."""
        paths = [path.absolute() for path in self.checkpoints]
        return self._replace(checkpoints=paths, data_bin=self.data_bin.absolute(), threads=self.threads or 1)

    def open(self) -> tuple[Teacher, Corpus]:
        """Load the teacher and open the data.

        Returns:
            Both.

        Raises:
            FileNotFoundError: if the part does not exist in the teacher's languages.
            ValueError: if teacher, data and options do not go together.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.cuda and not torch.cuda.is_available():
            raise ValueError(
                "--cpu must be given where PyTorch finds no GPU, as on a machine of the cluster, but is not"
            )
        own = (self.generation, self.matmul_precision, self.longest, self.cuda)
        teacher = load_teacher(self.checkpoints, self.data_bin, *own)
        return teacher, open_corpus(teacher, self.data_bin, self.subset, self.max_tokens, self.batch_size)


def fill(
    output: Output, teacher: Teacher, corpus: Corpus, report: Callable[[Sequence[int]], None], shard: Shard
) -> Shard:
    """Translate a shard, unless it is kept; see ``translate``."""
    if not output.has(shard):
        output.write_shard(shard, translate(teacher, corpus, shard, report))
    return shard


def load(assignment: Assignment, output: Output) -> Callable[[Shard], Shard]:
    """Return what translates shards, for an actor."""
    return partial(fill, output, *assignment.open(), lambda _: None)


def distil(assignment: Assignment, output: Output, shard_size: int, machines: "Machines | None" = None) -> None:
    """Translate the missing shards, join all, and print the totals.

    Args:
        assignment: what to distil, for each process that translates.
        output: the folder.
        shard_size: sentences of a shard.
        machines: a cluster; None: this process translates.

    Raises:
        OSError: if there is no room.
        ValueError: if teacher, data and options do not go together.
    """
    teacher, corpus = (assignment if machines is None else assignment._replace(cuda=False)).open()
    shards = shards_of(len(corpus.sources), shard_size)
    pending = [shard for shard in shards if not output.has(shard)]
    if len(pending) < len(shards):
        print(f"{len(shards) - len(pending):,} of {len(shards):,} shards were done before", flush=True)
    progress = Progress(corpus.sources.source_sizes, pending)
    if machines is None:
        for shard in pending:
            fill(output, teacher, corpus, progress.add, shard)
    elif pending:
        worker = partial(load, assignment.elsewhere(), output.absolute())
        for shard in machines.work([pending], list, worker, assignment.cuda, assignment.threads or 1):
            progress.add(range(*shard))
    kept, unknown = output.assemble(shards, corpus.data)
    print(
        f"{output.data_bin}: {len(corpus.sources):,} sentences; {kept:,} sources of more than {teacher.longest} tokens "
        f"kept their own target; {unknown:,} translations have {teacher.task.tgt_dict.unk_word}"
    )
