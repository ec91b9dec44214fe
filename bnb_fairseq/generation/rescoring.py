"""N-best lists of an autoregressive model's beam search, judged anew with an n-gram language model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .ctc_beam import Array, PrefixScorer
from .hypotheses import Hypothesis


def added_scores(scorer: PrefixScorer, texts: Sequence[Sequence[int]]) -> Array:
    """Score whole texts as the prefix beam search would have scored them, token by token.

    Args:
        scorer: the scorer.
        texts: ids of N texts, without the end symbol.

    Returns:
        What the scorer adds to each text, its end included: N, float64.
    """
    lengths = np.array([len(text) for text in texts])
    tokens = np.zeros((len(texts), max(int(lengths.max(initial=0)), 1)), np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    states, total = np.full((len(texts), 1), scorer.start(), np.int64), np.zeros(len(texts))
    for i in range(int(lengths.max(initial=0))):
        wanted = (lengths > i)[:, None, None]
        gains, after = scorer.extend(states, tokens[:, i : i + 1], wanted)
        total += np.where(wanted, gains, 0)[:, 0, 0]
        states = np.where(wanted, after, states[:, :, None])[:, :, 0]
    return total + scorer.finish(states)[:, 0]


class RescoringGenerator:
    """Orders the texts that a beam search found by the model's score and a language model's.

    A text's score is log-probability + what the scorer adds, divided by length ** ``--lenpen`` as the beam search does,
    the end symbol counted; ``--unnormalized`` divides by nothing. Scores of tokens stay the model's.

    Args:
        generator: fairseq's SequenceGenerator; all texts of its beam compete.
        scorer: what judges them beside the model.
        eos: id of the end symbol.

    Attributes:
        symbols_to_strip_from_output: ids that fairseq's commands leave out of what they print.
    """

    def __init__(self, generator: Any, scorer: PrefixScorer, eos: int) -> None:
        self._generator, self._scorer, self._eos = generator, scorer, eos
        self.symbols_to_strip_from_output = generator.symbols_to_strip_from_output

    def generate(
        self,
        models: Sequence[Any],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        bos_token: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Translate a batch as fairseq's SequenceGenerator does, and put the best total of each sentence first."""
        found = self._generator.generate(
            models, sample, prefix_tokens=prefix_tokens, constraints=constraints, bos_token=bos_token
        )
        flat = [hypothesis for one in found for hypothesis in one]
        texts = [[token for token in hypothesis["tokens"].tolist() if token != self._eos] for hypothesis in flat]
        scores = iter(added_scores(self._scorer, texts).tolist())
        return [sorted((self._judged(each, next(scores)) for each in one), key=_descending) for one in found]

    def _judged(self, hypothesis: Hypothesis, added: float) -> Hypothesis:
        divisor = len(hypothesis["tokens"]) ** self._generator.len_penalty if self._generator.normalize_scores else 1.0
        return {**hypothesis, "score": hypothesis["score"] + added / divisor}


def _descending(hypothesis: Hypothesis) -> float:
    return -float(hypothesis["score"])
