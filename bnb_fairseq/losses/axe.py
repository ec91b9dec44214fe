"""Aligned Cross Entropy (Ghazvininejad et al. 2020): the cost of the cheapest monotonic alignment."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modules.canvas import padding_mask

# Cost of what has probability 0, in the search. Half-precision logits cannot make a log-probability below -131,100.
IMPOSSIBLE = 1e6


class Alignment(NamedTuple):
    """The cheapest alignment of each sentence, as weights of log-probabilities.

    Attributes:
        places: B x T, the prediction that each target token reads, counted from 0; 0 at padding.
        token_weights: B x T, 1 where the token is aligned, the penalty where it is skipped, 0 at padding.
        blank_weights: B x A, 0 where the prediction is aligned and at padding, else the weight of its blank.
    """

    places: Tensor
    token_weights: Tensor
    blank_weights: Tensor


def axe_loss(
    scores: Tensor, blank_scores: Tensor, canvas_lengths: Tensor, target_lengths: Tensor, skip_target: float
) -> Tensor:
    """Cost of the cheapest monotonic alignment of predictions and target tokens.

    With d = ``skip_target``, the cost A(i, j) of i target tokens and j predictions is the least of (Ghazvininejad et
    al. 2020, Algorithm 1)

    - align: A(i-1, j-1) - log p_j(y_i)
    - skip a prediction: A(i, j-1) - log p_j(blank)
    - skip a target token: A(i-1, j) - d log p_j(y_i); before the first prediction, it reads p_1

    Unlike the paper, but like the original BERT-NAR-BERT, predictions skipped before the first target token are also
    scaled by d: A(0, j) = A(0, j-1) - d log p_j(blank). The gradient follows one cheapest alignment.

    Args:
        scores: B x A x T, log p_j(y_i) at [j, i], float32 or float64; values beyond the lengths are ignored.
        blank_scores: B x A, log p_j(blank), dtype of ``scores``.
        canvas_lengths: B, numbers of predictions.
        target_lengths: B, numbers of target tokens.
        skip_target: d, at least 0.

    Returns:
        B, nats, dtype of ``scores``; infinite if every alignment has probability 0, or if there are target tokens but
        no predictions; nan if a prediction is nan.
    """
    if scores.size(1) == 0:
        scores, blank_scores = F.pad(scores, (0, 0, 0, 1)), F.pad(blank_scores, (0, 1))
    places, token_weights, blank_weights = best_alignment(
        scores, blank_scores, canvas_lengths, target_lengths, skip_target
    )
    read = scores.gather(1, places.unsqueeze(1)).squeeze(1)  # B x T
    loss = _weighted_sum(token_weights, -read) + _weighted_sum(blank_weights, -blank_scores)
    return loss.masked_fill((canvas_lengths == 0) & (target_lengths > 0), torch.inf)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Row sums of weights x values; a weight of 0 also hides infinity and nan."""
    return torch.where(weights > 0, weights * values, 0).sum(dim=1)


@torch.no_grad()
def best_alignment(
    scores: Tensor, blank_scores: Tensor, canvas_lengths: Tensor, target_lengths: Tensor, skip_target: float
) -> Alignment:
    """The alignment of least cost; for the arguments see ``axe_loss``, here with A of at least 1."""
    batch, canvas, longest = scores.shape
    beyond_canvas, beyond_target = padding_mask(canvas_lengths, canvas), padding_mask(target_lengths, longest)
    # Rows and columns beyond the lengths are filled, too, but no path leads back from there.
    moves = _fill_rows(_costs(blank_scores), _costs(scores.permute(2, 0, 1)), skip_target)  # T x B x A+1
    left = _walk_back(moves // 2, canvas_lengths, beyond_target)  # B x T+1
    move = moves.gather(2, left[:, 1:].t().unsqueeze(2)).squeeze(2).t()  # B x T, the one by which a row is entered
    aligned = (move % 2 == 1) & ~beyond_target
    places = torch.div(move - 1, 2, rounding_mode="floor").clamp(min=0).masked_fill(beyond_target, 0)
    token_weights = scores.new_full((batch, longest), skip_target).masked_fill(aligned, 1).masked_fill(beyond_target, 0)
    skipped = scores.new_full((batch, canvas + 1), skip_target)  # a column more, for tokens that are not aligned
    skipped = skipped.masked_fill(padding_mask(left[:, 0], canvas + 1), 1)
    skipped = skipped.scatter(1, places.masked_fill(~aligned, canvas), 0)
    return Alignment(places, token_weights, skipped[:, :-1].masked_fill(beyond_canvas, 0))


def _costs(scores: Tensor) -> Tensor:
    """Negated log-probabilities in float64, because they are subtracted; infinity and nan become large numbers."""
    return scores.double().neg().nan_to_num(IMPOSSIBLE, IMPOSSIBLE, -IMPOSSIBLE)


def _fill_rows(blank_costs: Tensor, token_costs: Tensor, skip_target: float) -> Tensor:
    """Fill the table of costs, one row at a time for all sentences and columns.

    With C(j) the sum of the first j blank costs, D(i, j) = A(i, j) - C(j) is the least, over all k <= j, of
    D(i-1, k-1) - log p_k(y_i) + log p_k(blank) and D(i-1, k) - d log p_k(y_i): row i is entered in column k and left
    in column j, and the predictions from k + 1 to j are skipped. Two moves lead from cell k of row i-1 to row i, 2k
    (skip the token, to cell k) and 2k + 1 (align, to cell k + 1). In this order D(i, j) is the running minimum at 2j.

    Args:
        blank_costs: B x A, -log p_j(blank).
        token_costs: T x B x A, -log p_j(y_i).
        skip_target: d.

    Returns:
        T x B x A+1, for row i left in column j: the move by which it was entered.
    """
    skip_costs = skip_target * torch.cat([token_costs[..., :1], token_costs], dim=2)  # T x B x A+1
    align_costs = F.pad(token_costs - blank_costs, (0, 1))  # the last of these moves leads out of the table
    move_costs = torch.stack([skip_costs, align_costs], dim=3)  # T x B x A+1 x 2
    row = (skip_target - 1) * F.pad(blank_costs, (1, 0)).cumsum(dim=1)  # B x A+1
    moves = [torch.empty_like(move_costs[:0, ..., 0], dtype=torch.long)]
    for costs in move_costs:
        least, move = (row.unsqueeze(2) + costs).flatten(start_dim=1).cummin(dim=1)
        row = least[:, ::2]
        moves.append(move[:, ::2].unsqueeze(0))
    return torch.cat(moves)


def _walk_back(before: Tensor, canvas_lengths: Tensor, beyond_target: Tensor) -> Tensor:
    """Columns in which the best alignment leaves each row, from row 0 on: B x T+1.

    ``before``, T x B x A+1, holds for row i left in column j the column in which row i-1 was left.
    """
    columns = torch.arange(before.size(2), device=before.device)
    before = torch.where(beyond_target.t().unsqueeze(2), columns, before)
    left = [canvas_lengths.unsqueeze(1)]
    for row in reversed(before.unbind()):
        left.append(row.gather(1, left[-1]))
    return torch.cat(left[::-1], dim=1)
