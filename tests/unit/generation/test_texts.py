"""Which texts to return, and which of their tokens are printed."""

import torch

from bnb_fairseq.generation.hypotheses import words_and_ends
from bnb_fairseq.generation.texts import best_distinct, printed

from .test_hypotheses import EOS, PAD, SILENT, TEXTS, written


def test_printed_is_what_words_and_ends_keeps() -> None:
    for tokens, kept in TEXTS:
        assert printed(tokens, SILENT, EOS) == kept
        (found,) = words_and_ends([written(tokens, 0.0)], SILENT, EOS)
        assert found["tokens"].tolist() == ([tokens[i] for i in kept] or [EOS])
        assert torch.is_tensor(found["positional_scores"])


def test_best_distinct() -> None:
    scores = [-3.0, -1.0, float("-inf"), -1.0, -0.5, -2.0]
    texts = [[5], [5, 6], [9], [6, 5], [5, PAD, 6, EOS], [7]]
    assert best_distinct(scores, texts, 9, SILENT) == [4, 3, 5, 0]
    assert best_distinct(scores, texts, 2, SILENT) == [4, 3]
    assert best_distinct(scores, texts, 9, ()) == [4, 1, 3, 5, 0]
    assert best_distinct([], [], 3, SILENT) == []
