"""The paired bootstrap, against slow ones and sacrebleu's."""

from collections.abc import Sequence

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from bnb_fairseq.evaluation.bootstrap import compare_bleu, compare_means


def test_bootstrap_of_one_sentence() -> None:
    """Every sample is that sentence: no spread, and no sample's difference is more than the average one."""
    reference = ["the cat sat on a mat"]
    outputs = {"right": reference, "wrong": ["the cat sat on the mat"], "again": reference}
    found, signature = compare_bleu(outputs, reference, "right", samples=99, seed=5)
    wrong = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert found["right"] == pytest.approx((100, 0, None), abs=1e-9)
    assert found["wrong"] == pytest.approx((wrong, 0, 1 / 100), abs=1e-6)  # float32
    assert found["again"] == pytest.approx((100, 0, None), abs=1e-9), "it is the baseline: no p is meaningful"
    assert signature.startswith("nrefs:1|bs:99|seed:5|")


def test_bootstrap_against_a_slow_one() -> None:
    """The same draws, each scored as a text; the baseline is not the first system."""
    references = ["a b c d e f", "g h i j k", "l m n o p q r", "s t u v w"]
    outputs = {
        "half": ["a b c d e x", "g h x j k", "l m n o p q r", "s t u v"],
        "base": ["a b c d e f", "g h i j x", "x m n o p q r", "s t u x w"],
    }
    samples, seed = 40, 11
    draws = np.random.default_rng(seed).choice(4, size=(samples, 4), replace=True)

    def bleu(lines: list[str], places: Sequence[int]) -> float:
        score = BLEU().corpus_score([lines[i] for i in places], [[references[i] for i in places]])
        return float(score.score)

    scores = {name: sorted(bleu(lines, draw) for draw in draws) for name, lines in outputs.items()}
    apart = [abs(bleu(outputs["half"], draw) - bleu(outputs["base"], draw)) for draw in draws]
    observed = abs(bleu(outputs["half"], range(4)) - bleu(outputs["base"], range(4)))
    beyond = sum(value - sum(apart) / samples > observed for value in apart)

    found, _ = compare_bleu(outputs, references, "base", samples, seed)
    for name, ranked in scores.items():  # 95%: without the lowest and the highest 1 / 40
        assert found[name].mean == pytest.approx(sum(ranked) / samples, abs=1e-4)
        assert found[name].interval == pytest.approx((ranked[-2] - ranked[1]) / 2, abs=1e-4)
    assert 0 < beyond < samples
    assert found["half"].p_value == pytest.approx((beyond + 1) / (samples + 1), abs=1e-12)
    assert found["base"].p_value is None
    assert compare_bleu(outputs, references, "base", samples, seed + 1)[0] != found


def test_equal_scores_of_different_outputs_are_tested() -> None:
    references = ["a b c d e", "f g h i j"]
    outputs = {"first": ["a b c d e", "x x x x x"], "second": ["x x x x x", "f g h i j"]}
    found, _ = compare_bleu(outputs, references, "first", 50, 1)
    assert (found["second"].p_value or 0) > 0.2


def test_bootstrap_of_means_against_a_slow_one() -> None:
    scores = {
        "first": np.array([10.0, 60.0, 0.0, 33.0, 100.0, 12.5]),
        "base": np.array([20.0, 50.0, 10.0, 30.0, 80.0, 0.0]),
        "same": np.array([20.0, 50.0, 10.0, 30.0, 80.0, 0.0]),
        "ordered": np.array(
            [0.0, 10.0, 20.0, 30.0, 50.0, 80.0]
        ),  # the base's mean, sentence by sentence something else
    }
    samples, seed = 80, 7
    draws = np.random.default_rng(seed).choice(6, size=(samples, 6), replace=True).tolist()
    drawn = {name: [sum(of[i] for i in draw) / 6 for draw in draws] for name, of in scores.items()}
    found = compare_means(scores, "base", samples, seed)
    for name, means in drawn.items():
        ranked = sorted(means)
        assert found[name].mean == pytest.approx(sum(means) / samples, abs=1e-9)
        assert found[name].interval == pytest.approx(
            (ranked[-3] - ranked[2]) / 2, abs=1e-9
        )  # without 1 / 40 at each end
    for name in ("first", "ordered"):
        apart = [abs(one - other) for one, other in zip(drawn[name], drawn["base"], strict=True)]
        observed = abs(sum(scores[name]) - sum(scores["base"])) / 6
        beyond = sum(value - sum(apart) / samples > observed for value in apart)
        assert found[name].p_value == pytest.approx((beyond + 1) / (samples + 1), abs=1e-12)
    assert 0 < (found["first"].p_value or 0) < 1
    assert (found["ordered"].p_value or 0) > 0.2, "no difference is observed"
    assert found["base"].p_value is found["same"].p_value is None
    assert compare_means(scores, "base", samples, seed + 1)["first"] != found["first"]


def test_bootstrap_of_means_is_the_one_of_bleu() -> None:
    """sacrebleu's paired test of a metric whose corpus score is the mean: the same mean, interval and p."""
    from sacrebleu.metrics.base import Score
    from sacrebleu.significance import _paired_bs_test

    class Mean:
        def _extract_corpus_statistics(self, hypotheses: list[float], references: None) -> list[list[float]]:
            return [[value, 1.0] for value in hypotheses]

        def _compute_score_from_stats(self, total: list[float]) -> Score:
            return Score("mean", float(total[0] / total[1]))

        def _aggregate_and_compute(self, stats: list[list[float]]) -> Score:
            return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])

    chance = np.random.default_rng(3)
    base = chance.uniform(0, 100, size=40).round(2)
    other = np.clip(base + chance.normal(2, 9, size=40), 0, 100).round(2)
    metric = Mean()
    stats = metric._extract_corpus_statistics(base.tolist(), None)
    info = {"m": (stats, metric._aggregate_and_compute(stats))}
    _, theirs = _paired_bs_test(info, "other", other.tolist(), None, {"m": metric}, n_samples=200, seed=9)
    ours = compare_means({"base": base, "other": other}, "base", 200, 9)["other"]
    assert (ours.mean, ours.interval) == pytest.approx((theirs["m"].mean, theirs["m"].ci), abs=1e-3)  # float32 there
    assert ours.p_value == pytest.approx(theirs["m"].p_value, abs=1e-12)
    assert 1 / 201 < (ours.p_value or 0) < 1
