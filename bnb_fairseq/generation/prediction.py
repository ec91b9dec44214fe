"""Choosing tokens from decoder states, without scores of all words at all positions in memory."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Logits in a block: on a CPU as many as fit into its cache, else as many as are fast and fit into memory.
CPU_BLOCK, DEVICE_BLOCK = 1 << 22, 1 << 27


class Prediction(NamedTuple):
    """Chosen tokens.

    Attributes:
        tokens: N ids.
        scores: N, float32, their log-probabilities; 0 for ``unscored`` tokens.
    """

    tokens: Tensor
    scores: Tensor


def predict(
    output_layer: Callable[[Tensor], Tensor], states: Tensor, symbols: int, unscored: int | None = None
) -> Prediction:
    """The most probable token of every position.

    Tokens come from the logits, block by block; the softmax runs in place, and only where scores are read.

    Args:
        output_layer: from states, N' x D, to logits, N' x V, which may be overwritten.
        states: N x D.
        symbols: V.
        unscored: id whose score is not read (the blank); None: all scores are read.

    Returns:
        Tokens and scores.
    """
    blocks = [
        _predict_block(output_layer(block), unscored) for block in torch.split(states, block_rows(states, symbols))
    ]
    return Prediction(torch.cat([block.tokens for block in blocks]), torch.cat([block.scores for block in blocks]))


def with_blank_penalty(
    output_layer: Callable[[Tensor], Tensor], blank: int, penalty: float
) -> Callable[[Tensor], Tensor]:
    """Lower the blank's logits.

    Args:
        output_layer: turns states, N x D, into logits, N x V, which are overwritten.
        blank: id of the blank.
        penalty: what is subtracted, in nats; below 0 the blank gains. 0: the output layer itself is returned.

    Returns:
        An output layer whose softmax gives the probabilities of all symbols under the penalty.
    """
    if penalty == 0:
        return output_layer

    def penalised(states: Tensor) -> Tensor:
        logits = output_layer(states)
        logits[:, blank] -= penalty
        return logits

    return penalised


def score_tokens(output_layer: Callable[[Tensor], Tensor], states: Tensor, tokens: Tensor, symbols: int) -> Tensor:
    """Log-probabilities of given tokens, N, float32; the other arguments are those of ``predict``."""
    rows = block_rows(states, symbols)
    pairs = zip(torch.split(states, rows), torch.split(tokens, rows), strict=True)
    return torch.cat([_log_probabilities(output_layer(block), chosen) for block, chosen in pairs])


def block_rows(states: Tensor, symbols: int) -> int:
    """Number of positions in a block, at least 1; it depends on the device of ``states``."""
    return max(1, (CPU_BLOCK if states.device.type == "cpu" else DEVICE_BLOCK) // symbols)


def _predict_block(logits: Tensor, unscored: int | None) -> Prediction:
    tokens = logits.argmax(dim=-1)
    if unscored is None:
        return Prediction(tokens, _log_probabilities(logits, tokens))
    scored = tokens.ne(unscored).nonzero().squeeze(1)
    scores = tokens.new_zeros(tokens.shape, dtype=torch.float32)
    scores[scored] = _log_probabilities(logits[scored], tokens[scored])
    return Prediction(tokens, scores)


def _log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of chosen tokens: logits N x V (overwritten), tokens N -> N, float32."""
    logits = logits.float()
    torch.softmax(logits, dim=-1, out=logits)  # in place, in one pass; a log-softmax would need another tensor
    return logits.gather(1, tokens.unsqueeze(1)).squeeze(1).log_()
