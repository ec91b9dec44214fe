"""Paired bootstrap: whether the difference of two systems on one test set may be chance."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest


class Significance(NamedTuple):
    """Result of the paired bootstrap: 95% of the samples score ``mean`` plus or minus ``interval``.

    ``p_value`` is None for the baseline, and for a system that no sample tells from it: sacrebleu gives that one its
    smallest p, 1 / (samples + 1), as if the difference were certain.
    """

    mean: float
    interval: float
    p_value: float | None


def compare_bleu(
    translations: Mapping[str, Sequence[str]], references: Sequence[str], baseline: str, samples: int, seed: int
) -> tuple[dict[str, Significance], str]:
    """Test every system's BLEU against the baseline's by sacrebleu's paired bootstrap.

    Args:
        translations: each system's output.
        references: raw references.
        baseline: name of the system to compare with.
        samples: samples of the test set, 1 or more.
        seed: 1 or more; sacrebleu does not fix the seed for 0.

    Returns:
        The result for each system, and sacrebleu's signature.
    """
    os.environ["SACREBLEU_SEED"] = str(seed)  # PairedTest has no argument for it
    ordered = sorted(
        ((name, list(lines)) for name, lines in translations.items()), key=lambda item: item[0] != baseline
    )
    signatures, results = PairedTest(ordered, {"BLEU": BLEU()}, [list(references)], "bs", samples)()
    first = results["BLEU"][0]
    found = {}
    for (name, _), result in zip(ordered, results["BLEU"], strict=True):
        equal = result.score == first.score and result.p_value == 1 / (samples + 1)
        p_value = None if result.p_value is None or equal else float(result.p_value)
        found[name] = Significance(float(result.mean), float(result.ci), p_value)
    return found, str(signatures["BLEU"])


def compare_means(
    scores: Mapping[str, NDArray[np.float64]], baseline: str, samples: int, seed: int
) -> dict[str, Significance]:
    """Test every system's mean score against the baseline's by the paired bootstrap that sacrebleu has for BLEU.

    Args:
        scores: each system's scores, one a sentence.
        baseline: name of the system to compare with.
        samples: samples of the sentences.
        seed: of the samples.

    Returns:
        The result for each system.
    """
    sentences = len(scores[baseline])
    draws = np.random.default_rng(seed).choice(sentences, size=(samples, sentences), replace=True)
    drawn = {name: of_system[draws].mean(axis=1) for name, of_system in scores.items()}
    outside = samples // 40  # samples left out at either end: 95% stay
    found = {}
    for name, means in drawn.items():
        ranked = np.sort(means)
        interval = (ranked[samples - 1 - outside] - ranked[outside]) / 2
        apart = np.abs(means - drawn[baseline])
        observed = abs(scores[name].mean() - scores[baseline].mean())
        beyond = int((apart - apart.mean() > observed).sum())
        # Where no sample tells the two apart there is nothing that p could be the probability of.
        p_value = None if name == baseline or not apart.any() else (beyond + 1) / (samples + 1)
        found[name] = Significance(float(means.mean()), float(interval), p_value)
    return found
