r"""Measure how well a model's confidence tells which tokens are right and which lines are good.

    python scripts/benchmarks/confidence.py data-bin --path checkpoint_best.pt --text demo/text \
        --ctc-lm-path lm.arpa --ctc-lm-weight 0.4 --ctc-token-bonus 2

The calibration is fitted on the validation part; all figures are of the test part. ECE is the expected calibration
error over 15 bins of equal mass. AUC says how well confidence tells right tokens from wrong ones; 0.5 is chance.
Correlation is Spearman's, of the mean log-probability of a line's tokens with its chrF. Under the search a token's
confidence is its best one in the most probable alignment of the line that was found, or, as "shares", its share of the
line's log-probability, the same for all tokens of a line.
"""

import argparse
import itertools
import logging
import math
from collections.abc import Sequence

import numpy as np
from quality.options import add_model, add_search
from quality.translating import Part, Search, Translated, Translator, make_scorer

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.evaluation.calibration import (
    calibration_error,
    discrimination,
    fit_platt,
    rank_correlation,
    right_tokens,
)
from bnb_fairseq.evaluation.machine import describe_machine
from bnb_fairseq.evaluation.markdown import table
from bnb_fairseq.generation.confidence import Floats, Platt, line_confidence

HEAD = (
    *("decoding", "tokens", "right", "mean confidence", "ECE", "ECE calibrated"),
    *("slope", "intercept", "AUC", "correlation", "correlation calibrated"),
)
VERSIONS = ("torch", "numpy", "scipy", "sacrebleu")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: its words; the process's own by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    add_search(parser)
    return parser.parse_args(arguments)


def confidences(outputs: Sequence[Translated]) -> Floats:
    """Return the probabilities of all tokens, line after line."""
    return np.exp(list(itertools.chain.from_iterable(output.scores for output in outputs)))


def marks(translator: Translator, outputs: Sequence[Translated], part: Part) -> list[bool]:
    """Mark the right ones of all tokens, line after line."""
    pairs = zip(outputs, part.references, strict=True)
    return [mark for output, reference in pairs for mark in right_tokens(output.tokens, translator.symbols(reference))]


def correlation(outputs: Sequence[Translated], part: Part, calibration: Platt) -> float:
    """Correlate the calibrated confidence of lines with their chrF."""
    lines = [line_confidence(np.log(calibration.calibrated(np.exp(output.scores)))) for output in outputs]
    return rank_correlation(lines, [output.text for output in outputs], part.references)


def run(options: argparse.Namespace) -> None:
    """Measure, and print the table.

    Args:
        options: the command line.

    Raises:
        ValueError: if an option is out of range.
    """
    translator = Translator(options.path, options.data, options.text)
    parts = [translator.part(name, options.batch_size) for name in ("valid", "test")]
    scorer = make_scorer(translator.target, options.ctc_lm_path, options.ctc_lm_weight, options.ctc_token_bonus)
    search = Search(options.ctc_beam, options.ctc_beam_symbols, scorer, -math.inf, 0)
    searched = [
        translator.translate(translator.scored(part, search, None), part, search, None, 0.0)[0] for part in parts
    ]
    shares = [[line._replace(scores=[line.share] * len(line.tokens)) for line in lines] for lines in searched]
    systems = {"best alignment": [translator.best_alignments(part) for part in parts], "search": searched}
    rows: list[tuple[str, ...]] = [HEAD]
    for name, (fitting, outputs) in {**systems, "search, shares": shares}.items():
        calibration = fit_platt(confidences(fitting), marks(translator, fitting, parts[0]))
        before, right = confidences(outputs), marks(translator, outputs, parts[1])
        errors = (calibration_error(values, right) for values in (before, calibration.calibrated(before)))
        area = discrimination(before, right)
        orders = (correlation(outputs, parts[1], used) for used in (Platt(), calibration))
        counts = (f"{len(right)}", f"{np.mean(right):.3f}", f"{before.mean():.3f}")
        rows.append((name, *counts, *(f"{figure:.3f}" for figure in (*errors, *calibration, area, *orders))))
    print(table(rows))
    print(f"\nsentences: {len(parts[0].sources)} to fit, {len(parts[1].sources)} to measure")
    print(describe_machine("cpu", VERSIONS))


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors("confidence.py", ValueError, OSError, ImportError):
        run(parse())


if __name__ == "__main__":
    main()
