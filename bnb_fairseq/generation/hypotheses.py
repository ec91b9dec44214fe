"""Hypotheses in fairseq's form, from decoding states, and the best of several for a sentence."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

import torch

from . import texts
from .state import DecodingState

Hypothesis = dict[str, Any]


def hypotheses_of(state: DecodingState, scores: list[float]) -> list[Hypothesis]:
    """N hypotheses on the CPU, from N written texts and their scores.

    Each has ``tokens``, ``score``, ``positional_scores`` (log-probability of each token), empty ``attention`` and
    ``alignment``.
    """
    lengths = state.lengths.tolist()
    tokens, positional = torch.from_numpy(state.tokens), torch.from_numpy(state.scores)
    return [
        {
            "tokens": tokens[i, :length],
            "score": scores[i],
            "positional_scores": positional[i, :length],
            "attention": None,
            "alignment": [],
        }
        for i, length in enumerate(lengths)
    ]


def best_distinct(hypotheses: Iterable[Hypothesis], count: int, silent: Container[int]) -> list[Hypothesis]:
    """The best hypotheses of a sentence, as ``texts.best_distinct`` chooses them."""
    listed = list(hypotheses)
    tokens = [hypothesis["tokens"].tolist() for hypothesis in listed]
    return [listed[i] for i in texts.best_distinct([one["score"] for one in listed], tokens, count, silent)]


def empty_hypothesis(eos: int) -> Hypothesis:
    """Fields of the translation of an empty sentence, which replace those of a hypothesis of fairseq's."""
    return {
        "tokens": torch.tensor([eos]),
        "score": 0.0,
        "positional_scores": torch.zeros(1),
        "alignment": [],
        "history": [],
    }


def words_and_ends(hypotheses: Sequence[Hypothesis], silent: Sequence[int], eos: int) -> list[Hypothesis]:
    """Reduce hypotheses to the symbols that fairseq counts as text.

    fairseq's BLEU (``--scoring bleu``) counts every symbol as a word, except an end symbol in the last place, and needs
    one symbol in every text.

    Args:
        hypotheses: N, at least one, on the CPU.
        silent: ids that are never printed: [CLS], [PAD] and [SEP].
        eos: id of [SEP].

    Returns:
        N hypotheses without them, except an end symbol in the last place. An empty text has this symbol alone, with the
        text's score as its log-probability.
    """
    tokens = torch.cat([hypothesis["tokens"] for hypothesis in hypotheses])
    scores = torch.cat([hypothesis["positional_scores"] for hypothesis in hypotheses])
    lengths = torch.tensor([len(hypothesis["tokens"]) for hypothesis in hypotheses])
    last = lengths.cumsum(0)[lengths > 0] - 1
    kept = ~torch.isin(tokens, torch.tensor(silent))
    kept[last] |= tokens[last] == eos
    owners = torch.arange(len(hypotheses)).repeat_interleave(lengths)
    counts = owners[kept].bincount(minlength=len(hypotheses)).tolist()
    texts = zip(hypotheses, torch.split(tokens[kept], counts), torch.split(scores[kept], counts), strict=True)
    return [
        {**hypothesis, "tokens": text, "positional_scores": of_text}
        if len(text)
        else {**hypothesis, "tokens": torch.tensor([eos]), "positional_scores": torch.tensor([hypothesis["score"]])}
        for hypothesis, text, of_text in texts
    ]
