"""The loss of tokens on a canvas of the target's length: cross-entropy, AXE or OAXE."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.axe import axe_loss
from ..losses.oaxe import AssignmentProblem
from ..losses.packing import Packing
from ..losses.token import chosen_log_probs
from ..modules.lazy_logits import LazyLogits
from .logged import Average

LOGGED = (
    Average("axe_loss", "axe_sum", "token", True, "loss along the cheapest monotonic alignment"),
    Average("oaxe_loss", "oaxe_sum", "token", True, "loss of the cheapest order"),
    Average("oaxe_kept", "oaxe_kept", "token", False, "share of tokens above --oaxe-margin"),
)


@dataclass(frozen=True)
class TokenLoss:
    """Cross-entropy, AXE or OAXE of the tokens to predict.

    AXE and OAXE align the predictions at hidden positions with the hidden tokens; revealed tokens take no part. Label
    smoothing draws every prediction towards the uniform distribution.

    Attributes:
        kind: ``ce``, ``axe`` or ``oaxe``.
        label_smoothing: share of the uniform distribution.
        blank: AXE's id of an empty prediction.
        skip_target: AXE's weight of skipped target tokens.
        margin: OAXE's truncation margin.
        warmup_updates: updates over which OAXE replaces cross-entropy.
    """

    kind: str
    label_smoothing: float
    blank: int
    skip_target: float = 1.0
    margin: float = 0.0
    warmup_updates: int = 0

    def __call__(
        self, logits: LazyLogits, packing: Packing, target: Tensor, update: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of a batch.

        Args:
            logits: N x V.
            packing: the N positions to predict, of B x T.
            target: B x T ids.
            update: updates made so far; for OAXE's warm-up.

        Returns:
            The loss of each sentence, B (nats, summed over its tokens); its tokens to predict, B; and sums for the log.
        """
        ids = packing.chosen(target).unsqueeze(1)
        if self.kind != "ce":  # then the tokens of the whole sentence too, and the blank
            of_sentence = F.pad(packing.packed(ids.squeeze(1)), (0, 1), value=self.blank)
            ids = torch.cat([ids, packing.repeated(of_sentence)], dim=1)
        chosen, mean = chosen_log_probs(logits, ids)
        loss, logs = self._unsmoothed(packing, chosen, update)
        if self.label_smoothing > 0:
            loss = (1 - self.label_smoothing) * loss - self.label_smoothing * packing.totals(mean)
        return loss, packing.counts, logs

    def _unsmoothed(self, packing: Packing, chosen: Tensor, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss from log-probabilities, N x (1 + T' + 1): own token, tokens of the sentence, blank."""
        if self.kind == "oaxe":
            problem = AssignmentProblem(packing.packed(chosen[:, 1:-1]), packing.counts)  # while the device goes on
        nll = packing.totals(-chosen[:, 0])
        logs = {"nll_sum": nll.detach().sum()}
        if self.kind == "axe":
            scores = packing.packed(chosen[:, 1:])
            aligned = axe_loss(scores[..., :-1], scores[..., -1], packing.counts, packing.counts, self.skip_target)
            logs["axe_sum"] = aligned.detach().sum()
            return aligned, logs
        if self.kind == "oaxe":
            aligned, kept = problem.loss(self.margin)
            logs |= {"oaxe_sum": aligned.detach().sum(), "oaxe_kept": kept.sum()}
            share = 1.0 if update >= self.warmup_updates else update / self.warmup_updates
            return share * aligned + (1 - share) * nll, logs
        return nll, logs
