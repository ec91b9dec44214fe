"""Sources of question generation: ``answer<TAB>context`` in a text, two segments in a data-bin folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .dictionary import SEGMENT_BREAK
from .pair_dataset import sizes_of

AROUND = 4  # symbols that a source needs beside the answer: [CLS], [SEP], a token of the context, [SEP]
WANTED = "must be an answer, one tab and the context"


def find_source_fault(line: str) -> str | None:
    """Fault of a source line: what it must be and what it is; None if there is none."""
    answer, *contexts = line.split(SEGMENT_BREAK)
    if len(contexts) != 1:
        return f"{WANTED}, but has {len(contexts) or 'no'} tab{'s' * (len(contexts) > 1)}"
    missing = [name for name, text in (("answer", answer), ("context", contexts[0])) if not text.strip()]
    return f"{WANTED}, but has no {' and no '.join(missing)}" if missing else None


def find_target_fault(line: str) -> str | None:
    """Fault of a target line: what it must be and what it is; None if there is none."""
    return "must be a question without a tab, but has one" if SEGMENT_BREAK in line else None


def check_typed_lines(lines: Sequence[str], option: str, before: int = 0) -> None:
    """Check that stripped lines, after ``before`` earlier ones of an ``option``, are answers and contexts.

    Raises a ValueError, naming the first line that is not, and what it is.
    """
    for number, line in enumerate(lines, start=before + 1):
        if fault := find_source_fault(line):
            shown = line if len(line) <= 60 else f"{line[:60]}..."
            raise ValueError(f"{option}: line {number} {fault}: {shown!r}")


def check_segments(name: str, sources: Sequence[Tensor], separator: int, longest: int | None) -> None:
    """Check that sources have two segments, by the first one, and that a cut leaves a token of every context.

    Args:
        name: name of the sources in messages.
        sources: ids, each source ending in [SEP].
        separator: id of [SEP].
        longest: tokens to cut sources to, including [CLS] and [SEP]; None: no cut.

    Raises:
        ValueError: naming what made the sources, or the first answer that is too long, its length and the limit.
    """
    if len(sources) and int((_read(sources, [0])[0] == separator).sum()) < 2:
        raise ValueError(
            f"{name}: sources must be an answer and a context, but the first has one text; preprocess them with "
            f"--task question_generation_bnb"
        )
    if longest is None:
        return
    cut = np.flatnonzero(sizes_of(sources) + 1 > longest).tolist()
    answers = [int((source == separator).int().argmax()) for source in _read(sources, cut)]
    too_long = [(i, answer) for i, answer in zip(cut, answers, strict=True) if answer + AROUND > longest]
    if too_long:
        first, answer = too_long[0]
        raise ValueError(
            f"{name}: {len(too_long):,} of {len(sources):,} sources cannot be cut by --truncate-source, which leaves "
            f"answers whole; source {first} has an answer of {answer} tokens, but --max-source-positions and the "
            f"model's positions allow {longest}: at most {max(longest - AROUND, 0)} for an answer beside [CLS], [SEP], "
            f"a token of the context and [SEP]"
        )


def _read(sources: Any, indices: Sequence[int]) -> list[Tensor]:
    if indices and getattr(sources, "supports_prefetch", False):
        sources.prefetch(indices)  # fairseq's cached data sets read only prefetched items
    return [sources[i] for i in indices]
