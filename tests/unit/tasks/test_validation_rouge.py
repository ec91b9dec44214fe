"""ROUGE from sums that come batch by batch and worker by worker."""

from typing import Any

import pytest
from fairseq.logging import metrics

from bnb_fairseq.metrics.rouge import Rouge
from bnb_fairseq.tasks.validation_rouge import log_rouge, rouge_statistics

REFERENCES = ["the file is open", "the cell is not empty here", "a window", "the last of all these lines", "so"]
HYPOTHESES = ["the file is open now", "the cell is empty here", "", "the last of the lines", "so"]
# Sentence by sentence, percent: 2 x common / (words of both), of words, of pairs, of the longest common subsequence.
ROUGE_1 = [100 * 8 / 9, 100 * 10 / 11, 0, 100 * 8 / 11, 100]
ROUGE_2 = [100 * 6 / 7, 100 * 6 / 9, 0, 100 * 4 / 9, 0]
ROUGE_L = [100 * 8 / 9, 100 * 10 / 11, 0, 100 * 8 / 11, 100]


@pytest.fixture(scope="module")
def rouge() -> Rouge:
    return Rouge()


def validate(batches: list[list[dict[str, Any]]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as meters:
        for workers in batches:
            log_rouge(workers)
    return dict(meters.get_smoothed_values())


def test_statistics_by_hand(rouge: Rouge) -> None:
    found = rouge_statistics(rouge, HYPOTHESES, REFERENCES)
    expected = {"_rouge_sentences": 5.0, "_rouge1": sum(ROUGE_1), "_rouge2": sum(ROUGE_2), "_rougeL": sum(ROUGE_L)}
    assert found == pytest.approx(expected, abs=1e-9)
    assert {type(value) for value in found.values()} == {float}, "fairseq adds up numbers, not arrays"


def test_batches_and_workers_give_the_mean_of_all_sentences(rouge: Rouge) -> None:
    """However the five sentences fall into batches of different size, and these to workers."""

    def batch(*chosen: int) -> dict[str, float]:
        return rouge_statistics(rouge, [HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen])

    idle = dict.fromkeys(batch(0), 0.0)  # what fairseq makes of a worker that has no batch left
    expected = {"rouge1": sum(ROUGE_1) / 5, "rouge2": sum(ROUGE_2) / 5, "rougeL": sum(ROUGE_L) / 5}
    rounded = {name: round(value, 2) for name, value in expected.items()}
    added = {name: batch(0, 1)[name] + batch(2)[name] for name in idle}  # as fast_stat_sync hands them over
    for batches in (
        [[batch(0, 1, 2, 3, 4)]],
        [[batch(i)] for i in range(5)],
        [[batch(4), batch(0, 1, 2, 3)]],
        [[batch(0, 1), batch(2)], [batch(3, 4), idle]],
        [[added], [batch(4, 3)]],
    ):
        assert validate(batches) == rounded


def test_a_validation_in_which_every_output_is_empty(rouge: Rouge) -> None:
    statistics = rouge_statistics(rouge, ["", "  "], ["a file", "a cell"])
    assert validate([[statistics], [statistics]]) == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}


def test_training_logs_no_rouge() -> None:
    assert validate([[{"loss": 1.0}]]) == {}
