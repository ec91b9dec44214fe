"""The criterion of ``bnb_transformer``: CTC, or cross-entropy with length classification.

The loss of a batch is the sum over its sentences and does not depend on how sentences fall into batches. Terms that
belong to a sentence rather than to a token (length, divergence from uniform) are weighted by the sentence's number of
target tokens, so that dividing by the tokens of all batches gives their token-weighted means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from ..losses.ctc import canvas_mean, ctc_loss, uniform_divergence
from ..losses.token import random_mask, smoothed_nll, sum_by_sentence
from ..models.bnb_transformer import BnbTransformer, NarOutput

Logs = dict[str, float | Tensor]

# name in the log -> (sum, count, factor): what is divided by what.
AVERAGES = {
    "nll_loss": ("nll_sum", "sample_size", 1 / math.log(2)),
    "uniform_kl": ("uniform_kl_sum", "sample_size", 1 / math.log(2)),
    "length_loss": ("length_nll_sum", "nsentences", 1 / math.log(2)),
    "length_accuracy": ("length_correct", "nsentences", 1.0),
    "length_error": ("length_error_sum", "nsentences", 1.0),
    "length_overflow": ("length_overflow_sum", "nsentences", 1.0),
    "canvas_overflow": ("canvas_overflow_sum", "nsentences", 1.0),
    "blank_share": ("blank_sum", "nsentences", 1.0),
}


@dataclass
class BnbLossConfig(FairseqDataclass):
    """Options of the criterion."""

    label_smoothing: float = field(
        default=0.1,
        metadata={"help": "share of the uniform distribution in the targets; under CTC, weight of KL(uniform || p)"},
    )
    length_loss_factor: float = field(default=0.1, metadata={"help": "weight of the length classifier's loss"})


@register_criterion("bnb_loss", dataclass=BnbLossConfig)
class BnbLoss(FairseqCriterion):
    """Loss and statistics of a ``bnb_transformer``.

    Args:
        task: the task; gives the target dictionary.
        label_smoothing: e, in [0, 1).
        length_loss_factor: weight of the length loss.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(self, task: Any, label_smoothing: float, length_loss_factor: float) -> None:
        super().__init__(task)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"--label-smoothing must lie in [0, 1), but is {label_smoothing}")
        if length_loss_factor < 0:
            raise ValueError(f"--length-loss-factor must not be negative, but is {length_loss_factor}")
        self.label_smoothing = label_smoothing
        self.length_loss_factor = length_loss_factor

    def forward(
        self, model: BnbTransformer, sample: Mapping[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, Logs]:
        """Compute the loss of a batch.

        Args:
            model: the model, or fairseq's distributed wrapper around it.
            sample: a batch of ``SentencePairDataset`` with targets.
            reduce: fairseq's flag; the loss is always a sum.

        Returns:
            The summed loss (nats), the number of target tokens it covers, and statistics.
        """
        target = sample["target"]
        target_lengths = target.ne(self.padding_idx).sum(dim=1)
        compute = self._ctc if _network(model).uses_ctc else self._cross_entropy
        loss, sample_size, logs = compute(model, sample["net_input"], target, target_lengths)
        logs |= {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": len(target),
            "sample_size": sample_size,
        }
        return loss, sample_size, logs

    def _ctc(
        self, model: BnbTransformer, net_input: Mapping[str, Tensor], target: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, int, Logs]:
        output = model(**net_input)
        blank = _network(model).blank
        log_probs = F.log_softmax(output.logits, dim=-1, dtype=_precise(output.logits))
        ctc = ctc_loss(log_probs, target, output.canvas_lengths, target_lengths, blank)
        counts = target_lengths * ctc.fits
        smoothing = self.label_smoothing
        per_sentence = (1 - smoothing) * ctc.nll
        logs: Logs = {
            "nll_sum": ctc.nll.detach().sum(),
            "canvas_overflow_sum": (~ctc.fits).sum(),
            "blank_sum": canvas_mean(log_probs.detach()[..., blank].exp(), output.canvas_lengths).sum(),
        }
        if smoothing > 0:
            divergence = uniform_divergence(log_probs, output.canvas_lengths) * counts
            per_sentence = per_sentence + smoothing * divergence
            logs["uniform_kl_sum"] = divergence.detach().sum()
        return per_sentence.sum(), int(counts.sum()), logs

    def _cross_entropy(
        self, model: BnbTransformer, net_input: Mapping[str, Tensor], target: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, int, Logs]:
        network = _network(model)
        hidden = target.ne(self.padding_idx)
        canvas_tokens = None
        if network.reads_canvas_tokens and model.training:
            hidden = random_mask(target_lengths, target.size(1))
            canvas_tokens = target.masked_fill(hidden, network.mask)
        output = model(**net_input, target_lengths=target_lengths, canvas_tokens=canvas_tokens, predict=hidden)
        log_probs = F.log_softmax(output.logits, dim=-1, dtype=_precise(output.logits))
        loss, nll = smoothed_nll(log_probs, target[hidden], self.label_smoothing)
        counts = hidden.sum(dim=1)
        per_sentence = sum_by_sentence(loss, hidden)
        length_nll, logs = self._length(network, output, net_input["src_lengths"], target_lengths)
        per_sentence = per_sentence + self.length_loss_factor * length_nll * counts
        logs["nll_sum"] = nll.detach().sum()
        return per_sentence.sum(), int(counts.sum()), logs

    def _length(
        self, network: BnbTransformer, output: NarOutput, source_lengths: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, Logs]:
        if output.length_logits is None:
            raise ValueError("the model has no length head, though it does not use CTC")
        classes, outside = network.length_head.classes(source_lengths, target_lengths)
        logits = output.length_logits
        nll = F.cross_entropy(logits.to(_precise(logits)), classes, reduction="none")
        with torch.no_grad():
            chosen = network.length_head.lengths(logits, source_lengths, network.decoder.max_positions())
            error = (chosen - target_lengths).abs()
        logs: Logs = {
            "length_nll_sum": nll.detach().sum(),
            "length_correct": error.eq(0).sum(),
            "length_error_sum": error.sum(),
            "length_overflow_sum": outside.sum(),
        }
        return nll, logs

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Logs]) -> None:
        """Log the averages over batches and workers.

        Args:
            logging_outputs: what ``forward`` returned, one for each batch and worker.
        """
        names = {name for log in logging_outputs for name in log}
        totals = {name: sum(float(log.get(name, 0)) for log in logging_outputs) for name in names}
        tokens, sentences = totals.get("sample_size", 0.0), totals.get("nsentences", 0.0)
        metrics.log_scalar("loss", totals.get("loss", 0.0) / max(tokens, 1) / math.log(2), tokens, round=3)
        for name, (numerator, denominator, factor) in AVERAGES.items():
            if numerator in totals:
                weight = tokens if denominator == "sample_size" else sentences
                metrics.log_scalar(name, factor * totals[numerator] / max(weight, 1), weight, round=3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Tell fairseq that workers' statistics may be added up before they are reduced."""
        return True


def _network(model: BnbTransformer) -> BnbTransformer:
    """Look behind fairseq's distributed wrappers, which lie one around the other."""
    while (inner := getattr(model, "module", None)) is not None:
        model = inner
    return model


def _precise(logits: Tensor) -> torch.dtype:
    """float32 for every narrower type; float64 stays."""
    return torch.promote_types(logits.dtype, torch.float32)
