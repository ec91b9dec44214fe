"""Order-Agnostic Cross Entropy (Du et al. 2021): cross-entropy under the best assignment of tokens to predictions."""

import math

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from ..modules.canvas import padding_mask

# Stands for log 0 in the search; the solver refuses what is not finite.
IMPOSSIBLE = -1e6


class AssignmentProblem:
    """Search for the best assignment, started on the device and solved on the CPU.

    The constructor only starts the copy to the CPU. Work that the caller then queues on a GPU runs during the search.

    Args:
        scores: B x T x T, log p_j(y_i) at [j, i], float32 or float64; values beyond the lengths are ignored.
        lengths: B, numbers of predictions and of target tokens.
    """

    def __init__(self, scores: Tensor, lengths: Tensor) -> None:
        self.scores = scores
        self.lengths = lengths
        finite = scores.detach().nan_to_num(IMPOSSIBLE, -IMPOSSIBLE, IMPOSSIBLE)
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in (finite, lengths)]  # pinned by torch
        self._copied = torch.cuda.current_stream(scores.device).record_event() if scores.is_cuda else None

    def solve(self) -> Tensor:
        """Token assigned to each prediction by the Hungarian algorithm: B x T, 0 at padding, on the scores' device."""
        if self._copied is not None:
            self._copied.synchronize()
        scores, lengths = self._copies
        assigned = torch.zeros(scores.shape[:2], dtype=torch.long, pin_memory=self._copied is not None)
        for row, matrix, length in zip(assigned, scores.numpy(), lengths.tolist(), strict=True):
            _, tokens = linear_sum_assignment(matrix[:length, :length], maximize=True)
            row[:length] = torch.from_numpy(tokens)
        return assigned.to(self.scores.device, non_blocking=True)

    def loss(self, margin: float) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the best assignment.

        Args:
            margin: drop tokens whose assigned probability is not above it (the pi of Du et al. 2021, who use 0.15); 0
                keeps all.

        Returns:
            Loss, B, nats, dtype of the scores; nan where a prediction is nan. Number of tokens kept, B.
        """
        read = self.scores.gather(2, self.solve().unsqueeze(2)).squeeze(2)  # B x T
        kept = ~padding_mask(self.lengths, read.size(1))
        if margin > 0:
            kept &= ~(read <= math.log(margin))  # nan is kept
        return torch.where(kept, -read, 0).sum(dim=1), kept.sum(dim=1)
