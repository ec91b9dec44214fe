"""Order-Agnostic Cross Entropy (Du et al. 2021): cross-entropy under the best assignment of tokens to predictions."""

import math

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from ..modules.canvas import padding_mask

# Stands for log 0 in the search; the solver refuses what is not finite.
IMPOSSIBLE = -1e6


class AssignmentProblem:
    """The search for the best assignment, begun on the device and solved on the CPU.

    The scores are on their way to the CPU when the constructor returns. What the caller queues on a GPU before it asks
    for the loss runs while the CPU waits for them and searches.

    Args:
        scores: B x T x T, log p_j(y_i) at [j, i], float32 or float64; what lies beyond the lengths has no effect.
        lengths: B, numbers of predictions and of target tokens.
    """

    def __init__(self, scores: Tensor, lengths: Tensor) -> None:
        self.scores = scores
        self.lengths = lengths
        finite = scores.detach().nan_to_num(IMPOSSIBLE, -IMPOSSIBLE, IMPOSSIBLE)
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in (finite, lengths)]  # pinned by torch
        self._copied = torch.cuda.current_stream(scores.device).record_event() if scores.is_cuda else None

    def solve(self) -> Tensor:
        """Find the assignment of the largest probability with the Hungarian algorithm.

        Returns:
            B x T, the target token that each prediction is assigned to; 0 at padding; on the device of the scores.
        """
        if self._copied is not None:
            self._copied.synchronize()
        scores, lengths = self._copies
        assigned = torch.zeros(scores.shape[:2], dtype=torch.long, pin_memory=self._copied is not None)
        for row, matrix, length in zip(assigned, scores.numpy(), lengths.tolist(), strict=True):
            _, tokens = linear_sum_assignment(matrix[:length, :length], maximize=True)
            row[:length] = torch.from_numpy(tokens)
        return assigned.to(self.scores.device, non_blocking=True)

    def loss(self, margin: float) -> tuple[Tensor, Tensor]:
        """Compute the cross-entropy of the best assignment without its improbable tokens.

        Args:
            margin: tokens are dropped whose probability, where they are assigned, is not above it; 0 keeps all. It is
                the pi of Du et al. (2021), who train with 0.15.

        Returns:
            Loss, B, nats, dtype of the scores; nan where a prediction is nan. Number of tokens kept, B.
        """
        read = self.scores.gather(2, self.solve().unsqueeze(2)).squeeze(2)  # B x T
        kept = ~padding_mask(self.lengths, read.size(1))
        if margin > 0:
            kept &= ~(read <= math.log(margin))  # nan is kept
        return torch.where(kept, -read, 0).sum(dim=1), kept.sum(dim=1)
