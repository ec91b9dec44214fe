"""Log-probabilities of single tokens of a text that a search found, where alignments that say the same were summed."""

import torch
from torch import Tensor

from ..losses.ctc_alignment import best_alignment
from .best_symbols import BestSymbols


def token_scores(symbols: BestSymbols, lengths: Tensor, tokens: Tensor, text_lengths: Tensor) -> Tensor:
    """Score each token at the best of the positions that it has in the text's most probable alignment.

    Args:
        symbols: B x A in place of N, as the search read them.
        lengths: B, true canvas lengths.
        tokens: B x T ids, a text that the search found for each sentence.
        text_lengths: B, true numbers of tokens.

    Returns:
        B x T, float32; 0 behind a text.
    """
    found = symbols.tokens.unsqueeze(2) == tokens.unsqueeze(1).unsqueeze(3)  # B x A x T x k
    scores = symbols.scores.unsqueeze(2).masked_fill(~found, float("-inf")).amax(dim=3)  # B x A x T
    columns = torch.cat([symbols.blank_scores.unsqueeze(2), scores], dim=2).transpose(0, 1)  # A x B x (1 + T)
    aligned = best_alignment(columns, tokens, lengths, text_lengths)  # B x A
    here = aligned.unsqueeze(2) == torch.arange(1, tokens.size(1) + 1, device=tokens.device)  # B x A x T
    best = scores.masked_fill(~here, float("-inf")).amax(dim=1)
    behind = torch.arange(tokens.size(1), device=tokens.device) >= text_lengths.unsqueeze(1)
    return best.masked_fill(behind, 0.0).float()
