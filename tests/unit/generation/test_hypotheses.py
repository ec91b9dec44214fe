"""What fairseq's commands get of texts: words, and the end symbol."""

import torch

from bnb_fairseq.generation.hypotheses import Hypothesis, words_and_ends

PAD, BOS, EOS = 1, 0, 2
SILENT = (BOS, PAD, EOS)
# What was written, and the places of it that stay.
TEXTS = [
    ([BOS, 5, 6, EOS], [1, 2, 3]),
    ([5, 6], [0, 1]),
    ([], []),
    ([BOS, 5, EOS, 6, BOS, PAD, 7], [1, 3, 6]),  # the model may write them anywhere
    ([BOS], []),
    ([BOS, 5, EOS, EOS], [1, 3]),
    ([BOS, EOS], [1]),
    ([EOS, PAD], []),
]


def written(tokens: list[int], score: float) -> Hypothesis:
    scores = -torch.arange(1.0, 1 + len(tokens))
    return {"tokens": torch.tensor(tokens, dtype=torch.long), "positional_scores": scores, "score": score, "steps": 2}


def test_words_stay_with_their_scores_and_empty_texts_end() -> None:
    """However many texts there are at once."""
    hypotheses = [written(tokens, -float(i)) for i, (tokens, _) in enumerate(TEXTS)]
    together = words_and_ends(hypotheses, SILENT, EOS)
    alone = [words_and_ends([hypothesis], SILENT, EOS)[0] for hypothesis in hypotheses]
    for found in (together, alone):
        assert len(found) == len(TEXTS)
        for i, (text, (tokens, kept)) in enumerate(zip(found, TEXTS, strict=True)):
            assert text["tokens"].tolist() == ([tokens[place] for place in kept] or [EOS])
            assert text["positional_scores"].tolist() == ([-1.0 - place for place in kept] or [-float(i)])
            assert (text["score"], text["steps"]) == (-float(i), 2)
    assert [hypothesis["tokens"].tolist() for hypothesis in hypotheses] == [tokens for tokens, _ in TEXTS]
