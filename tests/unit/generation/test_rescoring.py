"""N-best lists in a new order, against scores added up by hand and by KenLM itself."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.generation.ngram import NgramScorer
from bnb_fairseq.generation.rescoring import RescoringGenerator, added_scores
from bnb_fairseq.generation.scorer import TokenBonus

from .slow_ngram import SlowNgrams
from .test_ngram import ARPA, WORDS

EOS = 9
TEXTS = [[1, 2, 3], [], [3], [1, 2], [2, 2, 1, 4]]


def test_the_same_bonus_for_each_token() -> None:
    assert added_scores(TokenBonus(1.5), TEXTS).tolist() == [4.5, 0.0, 1.5, 3.0, 6.0]
    assert added_scores(TokenBonus(1.5), [[]]).tolist() == [0.0]


def test_a_language_model_scores_whole_texts(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    path = tmp_path / "model.arpa"
    path.write_text(ARPA, encoding="utf-8")
    slow = SlowNgrams(path)
    expected = []
    for text in TEXTS:
        words = ["<s>", *(WORDS[token] for token in text), "</s>"]
        logs = sum(slow.score(words[:i], words[i]) for i in range(1, len(words)))
        expected.append(0.7 * math.log(10) * logs + 0.5 * len(text))
    found = added_scores(NgramScorer(str(path), WORDS, 0.7, 0.5), TEXTS)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


class Beams:
    """Stands for fairseq's SequenceGenerator: hypotheses of two sentences, whatever the batch."""

    symbols_to_strip_from_output = frozenset({EOS})

    def __init__(self, len_penalty: float, normalize_scores: bool) -> None:
        self.len_penalty, self.normalize_scores = len_penalty, normalize_scores
        self.given: dict[str, Any] = {}

    def generate(self, models: Sequence[Any], sample: Mapping[str, Any], **given: Any) -> list[list[dict[str, Any]]]:
        self.given = given
        return [
            [self.hypothesis([1, 2, EOS], [-0.5, -0.5, -0.2]), self.hypothesis([1, 2, 3, 3, EOS], [-0.6] * 5)],
            [self.hypothesis([3, EOS], [-1.0, -1.0])],
        ]

    def hypothesis(self, tokens: list[int], scores: list[float]) -> dict[str, Any]:
        divisor = len(tokens) ** self.len_penalty if self.normalize_scores else 1
        score, positional = torch.tensor(sum(scores) / divisor), torch.tensor(scores)
        return {"tokens": torch.tensor(tokens), "score": score, "positional_scores": positional}


@pytest.mark.parametrize(
    ("len_penalty", "normalize_scores", "scores"),
    [
        (1.0, True, [[(-3 + 8) / 5, (-1.2 + 4) / 3], [0.0]]),
        (0.5, True, [[(-3 + 8) / 5**0.5, (-1.2 + 4) / 3**0.5], [0.0]]),
        (1.0, False, [[-3 + 8, -1.2 + 4], [0.0]]),
    ],
)
def test_the_order_by_hand(len_penalty: float, normalize_scores: bool, scores: list[list[float]]) -> None:
    """A bonus of 2 puts the longer text of the first sentence first, under each normalisation."""
    beams = Beams(len_penalty, normalize_scores)
    prefix: Tensor = torch.tensor([[1]])
    generator = RescoringGenerator(beams, TokenBonus(2.0), EOS)
    found = generator.generate([], {}, prefix_tokens=prefix, bos_token=4)
    assert beams.given == {"prefix_tokens": prefix, "constraints": None, "bos_token": 4}
    assert [[one["tokens"].tolist() for one in each] for each in found] == [[[1, 2, 3, 3, 9], [1, 2, 9]], [[3, 9]]]
    for each, expected in zip(found, scores, strict=True):
        assert [float(one["score"]) for one in each] == pytest.approx(expected, abs=1e-6)
    assert found[0][1]["positional_scores"].tolist() == pytest.approx([-0.5, -0.5, -0.2])
    assert generator.symbols_to_strip_from_output == {EOS}


def test_equal_scores_keep_the_models_order() -> None:
    hypotheses = [{"tokens": torch.tensor([token, EOS]), "score": torch.tensor(-1.0)} for token in (3, 1, 2)]
    same = SimpleNamespace(
        generate=lambda *_, **__: [hypotheses],
        len_penalty=1.0,
        normalize_scores=True,
        symbols_to_strip_from_output=None,
    )
    found = RescoringGenerator(same, TokenBonus(2.0), EOS).generate([], {})
    assert [int(one["tokens"][0]) for one in found[0]] == [3, 1, 2]
