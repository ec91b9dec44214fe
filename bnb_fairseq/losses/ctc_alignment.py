"""The most probable CTC alignment of a target with a canvas."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modules.canvas import padding_mask
from .ctc import needed_positions

IMPOSSIBLE = float("-inf")


@torch.no_grad()
def best_alignment(scores: Tensor, targets: Tensor, canvas_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Viterbi search over CTC's states blank, y_1, blank, y_2, ..., blank (Graves et al. 2006), for a batch at once.

    A state is reached from itself, from the one before, or, between different tokens, from the one before that.

    Args:
        scores: A x B x (1 + T), log-probabilities of ``words_to_score``, or logits; float32 or float64.
        targets: B x T, right-padded ids without blanks.
        canvas_lengths: B.
        target_lengths: B.

    Returns:
        B x A, the column of ``scores`` that each position stands for: 0 the blank, i target token i; 0 beyond the
        canvas, and everywhere if the target does not fit.
    """
    canvas, batch, columns = scores.shape
    if canvas == 0:
        return canvas_lengths.new_zeros(batch, 0)
    states = torch.zeros(2 * columns - 1, dtype=torch.long, device=scores.device)
    states[1::2] = torch.arange(1, columns, device=scores.device)  # the column of each state
    emitted = scores[:, :, states]  # A x B x (2T + 1)
    jumps = emitted.new_full((batch, len(states)), IMPOSSIBLE)
    jumps[:, 3::2] = jumps[:, 3::2].masked_fill(targets[:, 1:] != targets[:, :-1], 0.0)
    reached = F.pad(emitted[0, :, :2], (2, len(states) - min(2, len(states))), value=IMPOSSIBLE)  # two more on the left
    moves = torch.zeros(emitted.shape, dtype=torch.long, device=scores.device)
    inside = ~padding_mask(canvas_lengths, canvas).t().unsqueeze(2)  # A x B x 1
    for a in range(1, canvas):
        stay = reached[:, 2:]
        best, move = torch.stack([stay, reached[:, 1:-1], reached[:, :-2] + jumps]).max(dim=0)
        moves[a] = move.masked_fill(~inside[a], 0)
        reached = F.pad(torch.where(inside[a], best + emitted[a], stay), (2, 0), value=IMPOSSIBLE)
    last = 2 * target_lengths  # the last blank, or the last token
    ends = reached.gather(1, torch.stack([last + 2, (last + 1).clamp(min=2)], dim=1))
    state = (last - (ends[:, 1] > ends[:, 0]).long()).unsqueeze(1)
    path = []
    for a in reversed(range(canvas)):
        path.append(state)
        state = (state - moves[a].gather(1, state)).clamp(min=0)
    aligned = states[torch.cat(path[::-1], dim=1)]
    fits = needed_positions(targets, target_lengths) <= canvas_lengths
    return aligned.masked_fill(~(inside.squeeze(2).t() & fits.unsqueeze(1)), 0)
