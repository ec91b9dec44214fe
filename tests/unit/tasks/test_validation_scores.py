"""BLEU from counts, and ROUGE and another metric from sums, that come batch by batch and worker by worker."""

from typing import Any

import numpy as np
import pytest
import sacrebleu
from fairseq.logging import metrics
from numpy.typing import NDArray

from bnb_fairseq.metrics.rouge import Rouge
from bnb_fairseq.metrics.sentence_metric import SentenceMetric
from bnb_fairseq.tasks.validation_scores import bleu_statistics, log_bleu, log_means, mean_statistics

REFERENCES = ["the file is open", "the cell is not empty here", "a window", "the last of all these lines", "so"]
HYPOTHESES = ["the file is open now", "the cell is empty here", "", "the last of the lines", "so"]
# Sentence by sentence, percent: 2 x common / (words of both), of words, of pairs, of the longest common subsequence.
ROUGE_1 = [100 * 8 / 9, 100 * 10 / 11, 0, 100 * 8 / 11, 100]
ROUGE_2 = [100 * 6 / 7, 100 * 6 / 9, 0, 100 * 4 / 9, 0]
ROUGE_L = [100 * 8 / 9, 100 * 10 / 11, 0, 100 * 8 / 11, 100]


class Letters:
    """Its one score of a text is the number of its letters."""

    names: tuple[str, ...] = ("letters",)
    signature = "letters"

    def scores(self, hypotheses: list[str], references: list[str]) -> NDArray[np.float64]:
        assert len(hypotheses) == len(references)
        return np.array([[len(text)] for text in hypotheses], dtype=np.float64)


@pytest.fixture(scope="module")
def judges() -> list[SentenceMetric]:
    letters: Any = Letters()
    return [Rouge(), letters]


def validate(judges: list[SentenceMetric], batches: list[list[dict[str, Any]]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as meters:
        for workers in batches:
            log_means(judges, workers)
    return dict(meters.get_smoothed_values())


def test_statistics_by_hand(judges: list[SentenceMetric]) -> None:
    found = mean_statistics(judges, HYPOTHESES, REFERENCES)
    expected = {"_scored_sentences": 5.0, "_rouge1": sum(ROUGE_1), "_rouge2": sum(ROUGE_2), "_rougeL": sum(ROUGE_L)}
    assert found == pytest.approx(expected | {"_letters": 20.0 + 22 + 0 + 21 + 2}, abs=1e-9)
    assert {type(value) for value in found.values()} == {float}, "fairseq adds up numbers, not arrays"


def test_batches_and_workers_give_the_mean_of_all_sentences(judges: list[SentenceMetric]) -> None:
    """However the five sentences fall into batches of different size, and these to workers."""

    def batch(*chosen: int) -> dict[str, float]:
        return mean_statistics(judges, [HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen])

    idle = dict.fromkeys(batch(0), 0.0)  # what fairseq makes of a worker that has no batch left
    expected = {"rouge1": sum(ROUGE_1) / 5, "rouge2": sum(ROUGE_2) / 5, "rougeL": sum(ROUGE_L) / 5, "letters": 13.0}
    rounded = {name: round(value, 2) for name, value in expected.items()}
    added = {name: batch(0, 1)[name] + batch(2)[name] for name in idle}  # as fast_stat_sync hands them over
    for batches in (
        [[batch(0, 1, 2, 3, 4)]],
        [[batch(i)] for i in range(5)],
        [[batch(4), batch(0, 1, 2, 3)]],
        [[batch(0, 1), batch(2)], [batch(3, 4), idle]],
        [[added], [batch(4, 3)]],
    ):
        assert validate(judges, batches) == rounded


def test_a_validation_in_which_every_output_is_empty(judges: list[SentenceMetric]) -> None:
    statistics = mean_statistics(judges, ["", ""], ["a file", "a cell"])
    zeros = {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0, "letters": 0.0}
    assert validate(judges, [[statistics], [statistics]]) == zeros


def test_training_logs_no_means(judges: list[SentenceMetric]) -> None:
    assert validate(judges, [[{"loss": 1.0}]]) == {}


def test_nothing_is_logged_that_nobody_asked_for() -> None:
    assert validate([], [[mean_statistics([], HYPOTHESES, REFERENCES)]]) == {}


BLEU_REFERENCES = ["the file is open", "the cell is not empty here", "a window", "the last of all these lines"]
TRANSLATIONS = ["the file is open now", "the cell is not empty here", "", "the last of these lines"]


def validate_bleu(batches: list[list[dict[str, float]]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as meters:
        for workers in batches:
            log_bleu(workers)
    return dict(meters.get_smoothed_values())


def test_batches_and_workers_give_the_score_of_the_whole() -> None:
    parts = [
        bleu_statistics([text], [reference]) for text, reference in zip(TRANSLATIONS, BLEU_REFERENCES, strict=True)
    ]
    whole = round(sacrebleu.corpus_bleu(TRANSLATIONS, [BLEU_REFERENCES]).score, 2)
    assert 20 < whole < 90
    assert validate_bleu([parts])["bleu"] == whole
    assert validate_bleu([parts[:1], parts[1:3], parts[3:]])["bleu"] == whole


def test_translations_without_a_word_score_nought() -> None:
    empty = bleu_statistics(["", ""], ["a file", "a cell"])
    assert validate_bleu([[empty]])["bleu"] == 0
    full = bleu_statistics(["a file of four words"], ["a file of four words"])
    assert 0 < validate_bleu([[empty], [full]])["bleu"] < 100  # the brevity penalty of the empty batch counts


def test_training_logs_no_bleu() -> None:
    assert validate_bleu([[{"loss": 1.0}]]) == {}
