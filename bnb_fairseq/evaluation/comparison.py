"""Systems side by side: their figures and the table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .bootstrap import Significance, compare_bleu
from .columns import DEFAULT, METRICS, TESTED, TESTED_MEANS
from .markdown import cell, table
from .means import MeanFigures, measure_means
from .runs import Run
from .scores import repetition, score
from .systems import COPY, REFERENCE


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
    """A row of the table; None where a figure has no meaning. ``ratio`` is the speed over the baseline's."""

    system: str
    length_ratio: float
    repetition: float
    bleu: float | None = None
    chrf: float | None = None
    bootstrap: Significance | None = None
    speed: Speed | None = None
    ratio: float | None = None
    rouge: MeanFigures | None = None
    meteor: MeanFigures | None = None

    def tested(self, metric: str) -> tuple[float, Significance] | None:
        """Return the tested score of a metric of ``TESTED`` and its bootstrap; None for a row that is no system.

        Raises a ValueError if the metric has no bootstrap.
        """
        if metric == "bleu":
            return None if self.bleu is None or self.bootstrap is None else (self.bleu, self.bootstrap)
        if metric in TESTED_MEANS:
            found = self.rouge if metric == "rouge" else self.meteor
            if found is None or found.bootstrap is None:
                return None
            return found.means[TESTED_MEANS[metric]], found.bootstrap
        raise ValueError(f"the metric must be one of {', '.join(TESTED)}, but is {metric}")

    def as_json(self) -> dict[str, Any]:
        """Return plain values: the median speed, and those of the rounds."""
        return {
            **self._asdict(),
            "bootstrap": self.bootstrap and self.bootstrap._asdict(),
            "speed": self.speed and self.speed.median(),
            "speed_rounds": self.speed and self.speed.rounds,
            "rouge": self.rouge and self.rouge.as_json(),
            "meteor": self.meteor and self.meteor.as_json(),
        }


class Terms(NamedTuple):
    """Terms of a comparison.

    Attributes:
        metrics: keys of ``METRICS``.
        judges: a ``SentenceMetric`` for each metric of ``TESTED_MEANS``.
        baseline: name of the system to compare with.
        samples: samples of the bootstrap, 1 or more.
        seed: of the samples, 1 or more.
    """

    metrics: Sequence[str]
    judges: Mapping[str, Any]
    baseline: str
    samples: int
    seed: int


def evaluate(
    runs: Mapping[str, Sequence[Run]], sources: Sequence[str], references: Sequence[str], terms: Terms
) -> tuple[list[Figures], list[str], dict[str, Any]]:
    """Score the outputs of the systems.

    Args:
        runs: by system, one a round; the first is scored.
        sources: raw source text.
        references: raw references.
        terms: of the comparison.

    Returns:
        The rows of the table, notes for the reader, and the figures for the JSON.
    """
    translations = {name: rounds[0].translations for name, rounds in runs.items()}
    metrics, _, baseline, samples, seed = terms
    against = f"against {baseline}, {samples:,} samples, seed {seed}"
    equal = "equal: no sample tells the two apart"
    texts = (translations, sources, references, baseline, samples, seed)
    tests: dict[str, Significance] = {}
    means: dict[str, dict[str, MeanFigures]] = {}
    tested, notes, signatures = None, [], []
    if "bleu" in metrics:
        tests, tested = compare_bleu(translations, references, baseline, samples, seed)
        notes.append(f"p: paired bootstrap on BLEU {against} (`{tested}`); {equal}")
    for metric in (metric for metric in TESTED_MEANS if metric in metrics):
        judge = terms.judges[metric]
        means[metric] = measure_means(judge, TESTED_MEANS[metric], *texts)
        signatures.append(f"{metric.upper()} {judge.signature}")
        notes.append(f"p of {TESTED[metric]}: paired bootstrap on its mean over the sentences {against}; {equal}")
    rows, of_sacrebleu = measure(runs, tests, sources, references, baseline, means)
    if not means.keys() >= set(metrics):
        signatures.insert(0, of_sacrebleu)
    scored = ", ".join(signatures)
    bootstrap = {"baseline": baseline, "samples": samples, "seed": seed, "signature": tested}
    figures = {"bootstrap": bootstrap, "signatures": scored, "rows": [row.as_json() for row in rows]}
    return rows, notes, figures


def measure(
    runs: Mapping[str, Sequence[Run]],
    tests: Mapping[str, Significance],
    sources: Sequence[str],
    references: Sequence[str],
    baseline: str,
    means: Mapping[str, Mapping[str, MeanFigures]],
) -> tuple[list[Figures], str]:
    """Fill the table.

    Args:
        runs: by system, one a round; the first is scored.
        tests: paired bootstrap of BLEU by system.
        sources: raw source text.
        references: raw references.
        baseline: the system whose speed is the unit of the others'.
        means: ``rouge`` and ``meteor`` by system, if they were requested.

    Returns:
        A row for each system, the copied source and the reference; the signatures of BLEU and chrF.
    """
    rows, signatures = [], ""
    speeds = {name: speed_of(rounds) for name, rounds in runs.items()}
    unit = speeds[baseline]
    for name, lines in [*((name, rounds[0].translations) for name, rounds in runs.items()), (COPY, sources)]:
        row, signatures = score(lines, references)
        speed = speeds.get(name)
        ratio = speed.median() / unit.median() if speed and unit else None
        figures = (row.length_ratio, repetition(lines), row.bleu, row.chrf)
        rouge_figures, meteor_figures = (means.get(metric, {}).get(name) for metric in TESTED_MEANS)
        rows.append(Figures(name, *figures, tests.get(name), speed, ratio, rouge_figures, meteor_figures))
    rows.append(Figures(REFERENCE, 1.0, repetition(references)))
    return rows, signatures


def speed_of(rounds: Sequence[Run]) -> Speed | None:
    """Return a system's speeds; None if a round has none, or one that fairseq-generate rounded to 0."""
    speeds = tuple(run.speed for run in rounds if run.speed)
    return Speed(speeds) if len(speeds) == len(rounds) else None


def format_table(rows: Sequence[Figures], baseline: str, metrics: Sequence[str] = DEFAULT) -> str:
    """Return the table in Markdown, with the columns of these ``metrics``."""
    columns = [column for metric in METRICS if metric in metrics for column in METRICS[metric]]
    lines = [("system", *columns, "length ratio", "repetition %", "sentences/s", "ratio")]
    for row in rows:
        cells = {"chrf": [cell(row.chrf, ".1f")]}
        means = {} if row.rouge is None else row.rouge.means
        cells["bleu"] = [cell(row.bleu, ".1f"), *_test_cells(row, "bleu", baseline)]
        cells["rouge"] = [cell(means.get(name), ".1f") for name in ("rouge1", "rouge2", "rougeL")]
        cells["rouge"] += _test_cells(row, "rouge", baseline)
        mean = None if row.meteor is None else row.meteor.means[TESTED_MEANS["meteor"]]
        cells["meteor"] = [cell(mean, ".1f"), *_test_cells(row, "meteor", baseline)]
        speed = "-"
        if row.speed:
            spread = f" ±{100 * row.speed.spread():.0f}%" if len(row.speed.rounds) > 1 else ""
            speed = f"{row.speed.median():,.1f}{spread}"
        scores = [text for metric in METRICS if metric in metrics for text in cells[metric]]
        rest = (f"{row.length_ratio:.2f}", f"{row.repetition:.2f}", speed, cell(row.ratio, ".2f"))
        lines.append((row.system, *scores, *rest))
    return table(lines)


def _test_cells(row: Figures, metric: str, baseline: str) -> list[str]:
    """Return the bootstrap's mean ± 95%, and p."""
    tested = row.tested(metric)
    if tested is None:
        return ["-", "-"]
    _, test = tested
    p_value = "baseline" if row.system == baseline else "equal"
    p_value = p_value if test.p_value is None else f"{test.p_value:.4f}"
    return [f"{test.mean:.1f} ± {test.interval:.1f}", p_value]


def explain_speed(rounds: int, baseline: str) -> str:
    """The way in which the speeds were measured, as a sentence."""
    how = "of one run"
    if rounds > 1:
        how = (
            f"median of {rounds} rounds, in each of which every system ran once, ± half the distance between the "
            "slowest and the fastest; the first round's output is scored"
        )
    return f"sentences/s: generation only, as fairseq-generate prints it, {how}; ratio: to that of {baseline}"
