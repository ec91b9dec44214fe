"""Confidence: how far a model's probabilities tell which tokens are right and which lines are good.

A token's confidence is its probability, the exponential of its positional score. A token is right if it belongs to the
longest common subsequence of its line and the reference, both in symbols of the target vocabulary: a non-autoregressive
output has no alignment of its own with the reference, and a comparison place by place would call all tokens behind a
missing one wrong. So a right word in another order than the reference's counts as wrong, and so does a synonym.

A generator gives the probability of the chosen token alone. A temperature would need all of them; so confidences are
calibrated by Platt's method (1999): the logistic function of a line in their logit, which keeps their order.
"""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.chrf import CHRF
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]
from scipy.stats import rankdata, spearmanr  # type: ignore[import-untyped]

from ..generation.confidence import Floats, Platt, logits

BINS = 15


def right_tokens(tokens: Sequence[int], reference: Sequence[int]) -> list[bool]:
    """Mark the tokens of an output that belong to the longest common subsequence with its reference.

    Args:
        tokens: N ids, without special symbols.
        reference: ids.

    Returns:
        N; of several subsequences of the same length the one whose tokens stand furthest to the left.
    """
    longest = [[0] * (len(reference) + 1) for _ in range(len(tokens) + 1)]  # of what begins at two places
    for i in reversed(range(len(tokens))):
        for j in reversed(range(len(reference))):
            if tokens[i] == reference[j]:
                longest[i][j] = longest[i + 1][j + 1] + 1
            else:
                longest[i][j] = max(longest[i + 1][j], longest[i][j + 1])
    right, j = [], 0
    for i, token in enumerate(tokens):
        place = next((k for k in range(j, len(reference)) if reference[k] == token), None)
        belongs = place is not None and longest[i + 1][place + 1] + 1 == longest[i][j]
        right.append(belongs)
        if place is not None and belongs:
            j = place + 1
    return right


def calibration_error(confidences: Sequence[float] | Floats, right: Sequence[bool], bins: int = BINS) -> float:
    """Compute the expected calibration error over bins of equal mass (Guo et al. 2017; Nguyen and O'Connor 2015).

    Args:
        confidences: probabilities of N tokens.
        right: N, which of them are right.
        bins: into how many parts of nearly equal size the sorted tokens are cut.

    Returns:
        Mean over tokens of the distance between their bin's mean confidence and its share of right tokens, 0 to 1.

    Raises:
        ValueError: if there are no tokens.
    """
    values, truths = _checked(confidences, right)
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(values[part].mean() - truths[part].mean()) for part in parts) / len(values))


def discrimination(confidences: Sequence[float] | Floats, right: Sequence[bool]) -> float:
    """Compute how well confidence tells right tokens from wrong ones, the area under the ROC curve.

    Args:
        confidences: probabilities of N tokens.
        right: N, which of them are right.

    Returns:
        Share of pairs of a right and a wrong token in which the right one is more confident, equal ones counting half:
        0.5 is chance.

    Raises:
        ValueError: if there are no right or no wrong tokens.
    """
    values, truths = _checked(confidences, right)
    _require_both_kinds(truths)
    ranks = rankdata(values)[truths > 0]
    count, others = len(ranks), len(values) - len(ranks)
    return float((ranks.sum() - count * (count + 1) / 2) / (count * others))


def fit_platt(confidences: Sequence[float] | Floats, right: Sequence[bool]) -> Platt:
    """Fit a calibration to tokens of a validation part, by maximum likelihood.

    As Platt does, the aims are not 1 and 0 but (n + 1) / (n + 2) for n right tokens and 1 / (m + 2) for m wrong ones,
    so that there is a finite solution even where a threshold divides them.

    Args:
        confidences: probabilities of N tokens.
        right: N, which of them are right.

    Returns:
        The calibration.

    Raises:
        ValueError: if there are no right or no wrong tokens, or right tokens are less confident than wrong ones, so
            that no increasing function fits.
    """
    values, truths = _checked(confidences, right)
    known, count = logits(values), truths.sum()
    _require_both_kinds(truths)
    aims = np.where(truths > 0, (count + 1) / (count + 2), 1 / (len(truths) - count + 2))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scores = parameters[0] * known + parameters[1]
        errors = expit(scores) - aims
        mean = np.mean(np.logaddexp(0, scores) - aims * scores)
        return float(mean), np.array([np.mean(errors * known), np.mean(errors)])

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    if slope <= 0:
        raise ValueError(f"right tokens must be more confident than wrong ones, but the fitted slope is {slope:.3f}")
    return Platt(float(slope), float(intercept))


def rank_correlation(confidences: Sequence[float], translations: Sequence[str], references: Sequence[str]) -> float:
    """Compare the order of lines by confidence with their order by quality.

    Args:
        confidences: of N lines, as ``line_confidence`` gives them.
        translations: N texts.
        references: N texts.

    Returns:
        Spearman's rank correlation of the confidence with sacrebleu's sentence chrF, -1 to 1; NaN where one of them is
        the same for all lines.
    """
    chrf = CHRF()
    pairs = zip(translations, references, strict=True)
    quality = [chrf.sentence_score(translation, [reference]).score for translation, reference in pairs]
    return float(spearmanr(confidences, quality).statistic)


def _checked(confidences: Sequence[float] | Floats, right: Sequence[bool]) -> tuple[Floats, Floats]:
    values, truths = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    if values.shape != truths.shape or not values.size:
        raise ValueError(
            f"confidences and marks must be of the same tokens, at least one, but are {values.size} and {truths.size}"
        )
    return values, truths


def _require_both_kinds(truths: Floats) -> None:
    if not 0 < truths.sum() < len(truths):
        raise ValueError(
            f"some tokens must be right and some wrong, but of {len(truths)} {int(truths.sum())} are right"
        )
