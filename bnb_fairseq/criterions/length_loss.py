"""The loss of the length classifier."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modules.length import LengthHead
from .logged import Average

LOGGED = (
    Average("length_loss", "length_nll_sum", "sentence", True, "cross-entropy of the length classifier"),
    Average("length_accuracy", "length_correct", "sentence", False, "share of sentences whose length is predicted"),
    Average("length_error", "length_error_sum", "sentence", False, "difference of predicted and true length, tokens"),
    Average("length_overflow", "length_overflow_sum", "sentence", False, "share of lengths outside all classes"),
)


@dataclass(frozen=True)
class LengthLoss:
    """Cross-entropy of the length classifier.

    Attributes:
        factor: its weight, per target token of the sentence.
        positions: positions of the decoder, the limit of predicted lengths.
    """

    factor: float
    positions: int

    def __call__(
        self, head: LengthHead, logits: Tensor, source_lengths: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted loss of length logits, B x (2N + 1).

        Args:
            head: maps lengths to classes.
            logits: B x (2N + 1).
            source_lengths: B.
            target_lengths: B.

        Returns:
            The loss of each sentence, B, nats per target token; and sums for the log.
        """
        classes, outside = head.classes(source_lengths, target_lengths)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nll = F.cross_entropy(wide, classes, reduction="none")
        with torch.no_grad():
            chosen = head.lengths(logits, source_lengths, self.positions)
            error = (chosen.squeeze(1) - target_lengths).abs()
        logs = {
            "length_nll_sum": nll.detach().sum(),
            "length_correct": error.eq(0).sum(),
            "length_error_sum": error.sum(),
            "length_overflow_sum": outside.sum(),
        }
        return self.factor * nll, logs
