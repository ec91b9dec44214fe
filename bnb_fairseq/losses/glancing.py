"""What a decoder that reads its canvas is shown of the truth in training."""

import torch
from torch import Tensor


def choose(counts: Tensor, candidates: Tensor) -> Tensor:
    """Choose positions at random, any set of a given size being equally likely.

    Args:
        counts: B, how many; at most the number of candidates.
        candidates: B x L, bool.

    Returns:
        B x L, True at chosen positions.
    """
    noise = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, 2.0)
    rank = noise.argsort(dim=1).argsort(dim=1)  # candidates first, in random order
    return rank < counts.unsqueeze(1)


def uniform_count(sizes: Tensor) -> Tensor:
    """Draw how many positions to hide: mask-predict's training (Ghazvininejad et al. 2019).

    Args:
        sizes: B.

    Returns:
        B, from 1 to the size, all equally likely; 0 where the size is 0.
    """
    share = torch.rand(len(sizes), device=sizes.device)
    return torch.minimum(1 + (share * sizes).long(), sizes)


def glanced_count(guess: Tensor, truth: Tensor, inside: Tensor, share: float) -> Tensor:
    """Count the positions to show: a share of those that the model gets wrong (glancing; Qian et al. 2021).

    Args:
        guess: B x A, the model's tokens when it is shown nothing.
        truth: B x A, true tokens.
        inside: B x A, True on the canvas.
        share: from 0 to 1.

    Returns:
        B, rounded down.
    """
    distance = (guess.ne(truth) & inside).sum(dim=1)
    return (share * distance).long()
