"""What fairseq's commands get of a text: words, and the end symbol."""

import pytest
import torch

from bnb_fairseq.generation.hypotheses import words_and_end

PAD, BOS, EOS = 1, 0, 2


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([BOS, 5, 6, EOS], [1, 2, 3]),
        ([5, 6], [0, 1]),
        ([BOS, 5, EOS, 6, BOS, PAD, 7], [1, 3, 6]),  # the model may write them anywhere
        ([BOS, 5, EOS, EOS], [1, 3]),
        ([BOS, EOS], [1]),
    ],
)
def test_words_stay_with_their_scores(written: list[int], kept: list[int]) -> None:
    scores = -torch.arange(1.0, 1 + len(written))
    tokens = torch.tensor(written)
    hypothesis = {"tokens": tokens, "positional_scores": scores, "score": -3.0, "steps": 2}
    found = words_and_end(hypothesis, torch.tensor([BOS, PAD, EOS]), EOS)
    assert found["tokens"].tolist() == [written[i] for i in kept]
    assert found["positional_scores"].tolist() == scores[kept].tolist()
    assert (found["score"], found["steps"]) == (-3.0, 2)
    assert tokens.tolist() == written, "the hypothesis that was handed over stays as it was"


@pytest.mark.parametrize("written", [[], [BOS], [BOS, PAD], [EOS, PAD]])
def test_a_text_without_words_ends(written: list[int]) -> None:
    hypothesis = {
        "tokens": torch.tensor(written, dtype=torch.long),
        "positional_scores": torch.zeros(len(written)),
        "score": -3.0,
    }
    found = words_and_end(hypothesis, torch.tensor([BOS, PAD, EOS]), EOS)
    assert found["tokens"].tolist() == [EOS]
    assert found["positional_scores"].tolist() == [-3.0]
