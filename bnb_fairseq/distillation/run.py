"""A distillation: translate shard after shard, then join them."""

import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from .output import Output, Shard, shards_of
from .teacher import Corpus, Teacher, translate

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


def distil(teacher: Teacher, corpus: Corpus, output: Output, shard_size: int) -> None:
    """Translate the missing shards of ``shard_size`` sentences, join all, and print the totals."""
    shards = shards_of(len(corpus.sources), shard_size)
    pending = [shard for shard in shards if not output.has(shard)]
    if len(pending) < len(shards):
        print(f"{len(shards) - len(pending):,} of {len(shards):,} shards were done before", flush=True)
    progress = Progress(corpus.sources.source_sizes, pending)
    for shard in pending:
        output.write_shard(shard, translate(teacher, corpus, shard, progress.add))
    kept, unknown = output.assemble(shards, corpus.data)
    print(
        f"{output.data_bin}: {len(corpus.sources):,} sentences; {kept:,} sources of more than {teacher.longest} tokens "
        f"kept their own target; {unknown:,} translations have {teacher.task.tgt_dict.unk_word}"
    )
