"""The comparison's table and its figures."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from report_translation import Significance, repetition, score

from .generation import Run
from .markdown import cell, table
from .systems import COPY, REFERENCE

HEAD = ("system", "BLEU", "mean ± 95%", "p", "chrF", "length ratio", "repetition %", "sentences/s", "ratio")


class Speed(NamedTuple):
    """Sentences per second in each round."""

    rounds: tuple[float, ...]

    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.rounds)

    def spread(self) -> float:
        """Return half the distance between the slowest and the fastest round, as a share of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median()


class Figures(NamedTuple):
    """A row of the table; None where a figure has no meaning. ``ratio`` is of its speed to the baseline's."""

    system: str
    length_ratio: float
    repetition: float
    bleu: float | None = None
    chrf: float | None = None
    bootstrap: Significance | None = None
    speed: Speed | None = None
    ratio: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold: the speed as its median, beside those of the rounds."""
        return {
            **self._asdict(),
            "bootstrap": self.bootstrap and self.bootstrap._asdict(),
            "speed": self.speed and self.speed.median(),
            "speed_rounds": self.speed and self.speed.rounds,
        }


def measure(
    runs: Mapping[str, Sequence[Run]],
    tests: Mapping[str, Significance],
    sources: Sequence[str],
    references: Sequence[str],
    baseline: str,
) -> tuple[list[Figures], str]:
    """Fill the table.

    Args:
        runs: what each system wrote, one a round; the first is scored.
        tests: what the paired bootstrap says of each.
        sources: raw source text.
        references: raw references.
        baseline: the system whose speed is the unit of the others'.

    Returns:
        A row for each system, one for the source copied and one for the reference; the signatures of both metrics.
    """
    rows, signatures = [], ""
    speeds = {name: speed_of(rounds) for name, rounds in runs.items()}
    unit = speeds[baseline]
    for name, lines in [*((name, rounds[0].translations) for name, rounds in runs.items()), (COPY, sources)]:
        row, signatures = score(name, lines, references, "-")
        speed = speeds.get(name)
        ratio = speed.median() / unit.median() if speed and unit else None
        figures = (row.length_ratio, repetition(lines), row.bleu, row.chrf)
        rows.append(Figures(name, *figures, tests.get(name), speed, ratio))
    rows.append(Figures(REFERENCE, 1.0, repetition(references)))
    return rows, signatures


def speed_of(rounds: Sequence[Run]) -> Speed | None:
    """Collect a system's speeds; None if a round has none, or one that fairseq-generate has rounded to 0."""
    speeds = tuple(run.speed for run in rounds if run.speed)
    return Speed(speeds) if len(speeds) == len(rounds) else None


def format_table(rows: Sequence[Figures], baseline: str) -> str:
    """Write the table in Markdown; ``baseline`` is the system that the others were compared with."""
    lines = [HEAD]
    for row in rows:
        interval = p_value = speed = "-"
        if test := row.bootstrap:
            interval = f"{test.mean:.1f} ± {test.interval:.1f}"
            p_value = "baseline" if row.system == baseline else "equal"
            p_value = p_value if test.p_value is None else f"{test.p_value:.4f}"
        if row.speed:
            spread = f" ±{100 * row.speed.spread():.0f}%" if len(row.speed.rounds) > 1 else ""
            speed = f"{row.speed.median():,.1f}{spread}"
        scores = (cell(row.bleu, ".1f"), interval, p_value, cell(row.chrf, ".1f"))
        rest = (f"{row.length_ratio:.2f}", f"{row.repetition:.2f}", speed, cell(row.ratio, ".2f"))
        lines.append((row.system, *scores, *rest))
    return table(lines)


def explain_speed(rounds: int, baseline: str) -> str:
    """Say how the speeds were measured."""
    how = "of one run"
    if rounds > 1:
        how = (
            f"median of {rounds} rounds, in each of which every system ran once, ± half the distance between the "
            "slowest and the fastest; the first round's output is scored"
        )
    return f"sentences/s: generation only, as fairseq-generate prints it, {how}; ratio: to that of {baseline}"
