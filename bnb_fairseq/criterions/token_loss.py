"""The loss of tokens on a canvas of the target's length: position by position, or along the best alignment."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.alignment import chosen_log_probs, pack_by_sentence, targets_at
from ..losses.axe import axe_loss
from ..losses.oaxe import AssignmentProblem
from ..losses.token import sum_by_sentence


@dataclass(frozen=True)
class TokenLoss:
    """Cross-entropy, AXE or OAXE of the tokens that a model was to predict.

    Under AXE and OAXE the predictions at hidden positions are aligned with the hidden tokens; tokens that were revealed
    have no part in it. Label smoothing draws every prediction to the uniform distribution, whatever it is aligned with.

    Attributes:
        kind: ``ce``, ``axe`` or ``oaxe``.
        label_smoothing: share of the uniform distribution.
        blank: id by which a prediction says nothing, under AXE.
        skip_target: AXE's weight of tokens without a prediction of their own.
        margin: OAXE's truncation margin.
        warmup_updates: updates over which OAXE takes the place of cross-entropy.
    """

    kind: str
    label_smoothing: float
    blank: int
    skip_target: float = 1.0
    margin: float = 0.0
    warmup_updates: int = 0

    def __call__(self, logits: Tensor, hidden: Tensor, target: Tensor, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss.

        Args:
            logits: N x V, for the True entries of ``hidden`` in row-major order.
            hidden: B x T, True at tokens to predict.
            target: B x T ids.
            update: updates made so far; for OAXE's warm-up.

        Returns:
            The loss of each sentence, B (nats, summed over its tokens), and sums for the log.
        """
        tokens, counts = target[hidden], hidden.sum(dim=1)
        ids = tokens.unsqueeze(1)
        if self.kind != "ce":  # then the tokens of the whole sentence too, and the blank
            of_sentence = F.pad(pack_by_sentence(tokens, hidden), (0, 1), value=self.blank)
            ids = torch.cat([ids, targets_at(hidden, of_sentence)], dim=1)
        chosen, mean = chosen_log_probs(logits, ids)
        scores = pack_by_sentence(chosen[:, 1:], hidden)  # N x (T' + 1) -> B x T' x (T' + 1)
        logs = {}
        if self.kind == "oaxe":
            problem = AssignmentProblem(scores[..., :-1], counts)  # under way while the device goes on
        nll = sum_by_sentence(-chosen[:, 0], hidden)
        loss = nll
        logs["nll_sum"] = nll.detach().sum()
        if self.kind == "axe":
            loss = axe_loss(scores[..., :-1], scores[..., -1], counts, counts, self.skip_target)
            logs["axe_sum"] = loss.detach().sum()
        elif self.kind == "oaxe":
            aligned, kept = problem.loss(self.margin)
            logs |= {"oaxe_sum": aligned.detach().sum(), "oaxe_kept": kept.sum()}
            share = 1.0 if update >= self.warmup_updates else update / self.warmup_updates
            loss = share * aligned + (1 - share) * nll
        if self.label_smoothing > 0:
            loss = (1 - self.label_smoothing) * loss - self.label_smoothing * sum_by_sentence(mean, hidden)
        return loss, logs
