"""The CTC loss of tokens, over all alignments of the target with the positions to predict."""

from dataclasses import dataclass

from torch import Tensor

from ..losses.ctc import ctc_loss, known_scores, uniform_divergence, words_to_score
from ..losses.packing import Packing
from ..losses.token import chosen_log_probs
from ..modules.canvas import Revealed
from ..modules.lazy_logits import LazyLogits
from .logged import Average

LOGGED = (
    Average("nll_loss", "nll_sum", "token", True, "negative log-probability of the target"),
    Average("uniform_kl", "uniform_kl_sum", "token", True, "KL(uniform || p), with label smoothing"),
    Average("canvas_overflow", "canvas_overflow_sum", "sentence", False, "share of targets that exceed their canvas"),
    Average("blank_share", "blank_sum", "sentence", False, "mean probability of the blank"),
)


@dataclass(frozen=True)
class CanvasLoss:
    """CTC of a batch, given what the decoder was shown of its canvas; called for the predictions of each layer.

    Attributes:
        target: B x T, right-padded ids.
        target_lengths: B.
        canvas_lengths: B.
        revealed: the tokens shown to the decoder, B x A, and the N positions to predict.
        packing: those positions.
        blank: id of the blank.
        label_smoothing: weight of KL(uniform || p).
    """

    target: Tensor
    target_lengths: Tensor
    canvas_lengths: Tensor
    revealed: Revealed
    packing: Packing
    blank: int
    label_smoothing: float

    def __call__(self, logits: LazyLogits) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of logits, N x V.

        Returns the loss of each sentence, B (nats, summed over its tokens); the target tokens covered by it, B, 0 where
        the target does not fit; and sums for the log.
        """
        packing, revealed, words = self.packing, self.revealed, words_to_score(self.target, self.blank)
        chosen, mean = chosen_log_probs(logits, packing.repeated(words))  # N x (1 + T), N
        shown = words[:, :1].expand_as(revealed.hidden) if revealed.tokens is None else revealed.tokens
        scores = packing.placed(chosen, known_scores(shown, words).to(chosen.dtype)).transpose(0, 1)  # A x B x (1 + T)
        ctc = ctc_loss(scores, self.target, self.canvas_lengths, self.target_lengths)
        counts = self.target_lengths * ctc.fits
        smoothing = self.label_smoothing
        per_sentence = (1 - smoothing) * ctc.nll
        logs = {
            "nll_sum": ctc.nll.detach().sum(),
            "canvas_overflow_sum": (~ctc.fits).sum(),
            "blank_sum": packing.means(chosen.detach()[:, 0].exp()).sum(),
        }
        if smoothing > 0:
            divergence = packing.means(uniform_divergence(mean, logits.symbols)) * counts
            per_sentence = per_sentence + smoothing * divergence
            logs["uniform_kl_sum"] = divergence.detach().sum()
        return per_sentence, counts, logs
