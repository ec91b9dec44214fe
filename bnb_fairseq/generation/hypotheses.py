"""From decoding states to hypotheses in fairseq's form, and the best of several for one sentence."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

import torch

from . import texts
from .state import DecodingState

Hypothesis = dict[str, Any]


def hypotheses_of(state: DecodingState, scores: list[float]) -> list[Hypothesis]:
    """Cut a state's rows to their lengths, on the CPU.

    Args:
        state: N written texts.
        scores: of each text.

    Returns:
        N hypotheses: ``tokens``, ``score``, ``positional_scores`` (log-probability of each token) and empty
        ``attention``, ``alignment``.
    """
    lengths = state.lengths.tolist()
    tokens, positional = state.tokens.cpu(), state.scores.cpu()
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
    """Order the hypotheses of a sentence by score, and drop those whose text a better one has.

    Args:
        hypotheses: of one sentence; a score of -inf marks a place that holds none.
        count: how many to return.
        silent: ids that are not printed: texts that differ in these alone are equal.

    Returns:
        At most ``count``, the best first; equal scores keep their order.
    """
    listed = list(hypotheses)
    tokens = [hypothesis["tokens"].tolist() for hypothesis in listed]
    return [listed[i] for i in texts.best_distinct([one["score"] for one in listed], tokens, count, silent)]


def empty_hypothesis(eos: int) -> Hypothesis:
    """Make the translation of an empty sentence.

    Args:
        eos: id of the end symbol.

    Returns:
        What to put over a hypothesis of fairseq's.
    """
    return {
        "tokens": torch.tensor([eos]),
        "score": 0.0,
        "positional_scores": torch.zeros(1),
        "alignment": [],
        "history": [],
    }


def words_and_ends(hypotheses: Sequence[Hypothesis], silent: Sequence[int], eos: int) -> list[Hypothesis]:
    """Reduce what a non-autoregressive model wrote to what fairseq takes for texts.

    fairseq's BLEU (``--scoring bleu``) counts every symbol but an end symbol in the last place as a word, and needs one
    symbol in every text.

    Args:
        hypotheses: N, at least one, on the CPU.
        silent: ids that are not printed, wherever they stand: [CLS], [PAD] and [SEP].
        eos: id of [SEP].

    Returns:
        N hypotheses without them, but for an end symbol in the last place; an empty text has this symbol alone, and its
        log-probability is the text's score.
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
