"""The benchmark's table and JSON."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from bnb_fairseq.evaluation.clock import Timing

from .systems import REFERENCE

TIMED = (
    "Timed: from a batch of padded ids on the CPU to lists of output ids on the CPU, with the transfers, the collapse "
    "under CTC, scores and the beam search; not tokenization. The floors: encoder, decoder and head on a ready canvas, "
    "and the argmax, which stays on the device."
)
SEARCHED = (
    "Under CTC, refinement makes all its passes, after which random weights fill nearly the whole canvas. The beam "
    "search takes the same time whatever the scores are, but for the n-grams, of which different scores ask for more "
    "or fewer: their model is counted on random text, a bonus for tokens makes up for its love of short texts, and "
    "each batch looks all of them up anew."
)
MEMORY = "Peak memory: a process of its own that loads the system and translates a batch of {batch}, all counted."


class Row(NamedTuple):
    """A system's timings by column, None where it could not run; its memory and its model's file in MB, if measured."""

    system: str
    timings: dict[str, Timing | None]
    memory: float | None
    size: float | None = None


class Result(NamedTuple):
    """Figures of all systems of one size in one precision of the weights."""

    size: str
    precision: str
    rows: list[Row]


def ratio(row: Row, reference: Row | None, column: str) -> float | None:
    """Return a system's median sentences/s over the reference's in a column; None if either did not run."""
    mine, other = row.timings.get(column), None if reference is None else reference.timings.get(column)
    if mine is None or other is None:
        return None
    return mine.speed() / other.speed()


def table(result: Result) -> str:
    """Return a table in Markdown: for each batch size ms/sentence with the spread, sentences/s, and the ratio."""
    columns = list(result.rows[0].timings)
    head = ["system", "passes", "peak MB", "file MB"]
    for column in columns:
        head += [f"batch {column}: ms/sentence", "sentences/s", "ratio"]
    reference = next((row for row in result.rows if row.system == REFERENCE), None)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in result.rows:
        first = next((timing for timing in row.timings.values() if timing is not None), None)
        cells = [row.system, "-" if first is None else f"{first.outcome.passes:g}"]
        cells += ["-" if value is None else f"{value:,.0f}" for value in (row.memory, row.size)]
        for column in columns:
            cells += _cells(row.timings[column], ratio(row, reference, column), column)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(timing: Timing | None, times: float | None, column: str) -> list[str]:
    if timing is None:
        return ["-", "-", "-"]
    size = "" if column == str(timing.sentences) else f" ({timing.sentences})"
    each = 1000 * timing.median() / timing.sentences
    cells = [f"{each:.1f} ±{100 * timing.spread():.0f}%{size}", f"{timing.speed():.1f}"]
    return [*cells, "-" if times is None else f"{times:.1f}"]


def as_json(results: Sequence[Result], settings: dict[str, Any]) -> str:
    """Return JSON with every run's seconds; ``settings`` are hardware, versions and options."""
    records = [
        {
            "size": result.size,
            "precision": result.precision,
            "system": row.system,
            "peak_memory_mb": row.memory,
            "file_mb": row.size,
            "batches": {
                column: timing and {"batch": timing.sentences, "seconds": timing.seconds, **timing.outcome._asdict()}
                for column, timing in row.timings.items()
            },
        }
        for result in results
        for row in result.rows
    ]
    return json.dumps({"settings": settings, "systems": records}, indent=1)
