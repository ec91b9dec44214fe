"""BLEU from counts that come batch by batch and worker by worker."""

import sacrebleu
from fairseq.logging import metrics

from bnb_fairseq.tasks.validation_bleu import bleu_statistics, log_bleu

REFERENCES = ["the file is open", "the cell is not empty here", "a window", "the last of all these lines"]
TRANSLATIONS = ["the file is open now", "the cell is not empty here", "", "the last of these lines"]


def validate(batches: list[list[dict[str, float]]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as meters:
        for workers in batches:
            log_bleu(workers)
    return dict(meters.get_smoothed_values())


def test_batches_and_workers_give_the_score_of_the_whole() -> None:
    parts = [bleu_statistics([text], [reference]) for text, reference in zip(TRANSLATIONS, REFERENCES, strict=True)]
    whole = round(sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]).score, 2)
    assert 20 < whole < 90
    assert validate([parts])["bleu"] == whole
    assert validate([parts[:1], parts[1:3], parts[3:]])["bleu"] == whole


def test_translations_without_a_word_score_nought() -> None:
    empty = bleu_statistics(["", ""], ["a file", "a cell"])
    assert validate([[empty]])["bleu"] == 0
    full = bleu_statistics(["a file of four words"], ["a file of four words"])
    assert 0 < validate([[empty], [full]])["bleu"] < 100  # the brevity penalty of the empty batch counts


def test_training_logs_no_bleu() -> None:
    assert validate([[{"loss": 1.0}]]) == {}
