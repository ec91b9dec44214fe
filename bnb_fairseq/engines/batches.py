"""Sources of any number and length in batches: the one way from an engine to translations of ids."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .interface import AskedTerms, Engine, Hypothesis

Input = TypeVar("Input")
Result = TypeVar("Result")
SPECIAL_SYMBOLS = 2  # [CLS] and [SEP] of an empty source
EMPTY = Hypothesis([], [], 0.0)


def batches(
    sources: Sequence[Sequence[int]], most_tokens: int | None, most_texts: int | None = None
) -> list[list[int]]:
    """Divide sources that are not empty into batches of similar length, the longest first.

    Where memory does not suffice, it shows at once.

    Args:
        sources: ids of each.
        most_tokens: of a batch, padding included, unless it is a single source; None: any number.
        most_texts: sources in a batch; None: any number.

    Returns:
        Indices of the sources.
    """
    found: list[list[int]] = []
    order = sorted((i for i, ids in enumerate(sources) if len(ids) > SPECIAL_SYMBOLS), key=lambda i: len(sources[i]))
    for i in order:
        count = len(found[-1]) + 1 if found else 0
        too_wide = most_tokens is not None and count * len(sources[i]) > most_tokens
        if not found or too_wide or (most_texts is not None and count > most_texts):
            found.append([])
        found[-1].append(i)
    return found[::-1]


def translate_ids(
    engine: Engine,
    sources: Sequence[Sequence[int]],
    search: Mapping[str, Any],
    nbest: int = 1,
    most_tokens: int | None = None,
    most_texts: int | None = None,
    terms: AskedTerms | None = None,
    done: Callable[[list[int]], object] = lambda _: None,
) -> list[list[Hypothesis]]:
    """Translate ids.

    Args:
        engine: the model.
        sources: ids of each source, none too long.
        search: options by name, see ``Engine.hypotheses``.
        nbest: hypotheses wanted of each.
        most_tokens: see ``batches``; without either limit, what suits the engine.
        most_texts: see ``batches``.
        terms: what a glossary asks for, with a row for each source; None: there is none.
        done: receives the indices of the sources that are done, batch by batch.

    Returns:
        For each source at most ``nbest`` hypotheses, the best first; ``EMPTY`` for one without words.

    Raises:
        ValueError: if options do not fit the model or each other.
    """
    if most_tokens is None and most_texts is None:
        most_tokens = engine.batch_tokens
    found = [[EMPTY]] * len(sources)
    done([i for i, source in enumerate(sources) if len(source) <= SPECIAL_SYMBOLS])
    waiting = batches(sources, most_tokens, most_texts)
    one, at_once = engine.side_by_side(search) if len(waiting) > 1 else (engine, 1)

    def translate(batch: list[int]) -> list[list[Hypothesis]]:
        asked = None if terms is None else AskedTerms(terms.glossary, [terms.rows[i] for i in batch])
        return one.hypotheses([sources[i] for i in batch], nbest, search, asked)

    for batch, hypotheses in zip(waiting, in_threads(translate, waiting, at_once), strict=True):
        for i, best in zip(batch, hypotheses, strict=True):
            found[i] = best[:nbest]
        done(batch)
    return found


def count_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(call: Callable[[Input], Result], inputs: Sequence[Input], threads: int) -> Iterator[Result]:
    """Call a function on each input, in several threads.

    Args:
        call: the function.
        inputs: its inputs.
        threads: 1: none beside this one.

    Yields:
        The results, in order. The first exception ends it, and what has not begun is left out.
    """
    if threads == 1:
        yield from map(call, inputs)
        return
    pool = ThreadPoolExecutor(threads, "batches")
    try:
        yield from pool.map(call, inputs)
    finally:
        pool.shutdown(cancel_futures=True)
