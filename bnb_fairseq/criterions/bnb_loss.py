"""The criterion of ``bnb_transformer``: CTC, or a token loss with length classification, and the latent's KL.

The loss of a batch is a sum over sentences and does not depend on how sentences fall into batches. Terms of a sentence
(length, latent, divergence from uniform) are weighted by its number of target tokens, so that fairseq's division by all
target tokens gives their token-weighted means.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from torch import Tensor

from ..losses.packing import Packing
from ..models.bnb_transformer import BnbTransformer
from ..modules.canvas import Revealed
from ..modules.lazy_logits import LazyLogits
from ..network.nar_network import NarOutput
from ..network.options import NetworkOptions
from . import canvas_loss, glancing, latent_statistics, length_loss, token_loss
from .canvas_loss import CanvasLoss
from .config import BnbLossConfig, check_options, kl_schedule
from .glancing import Teacher, glancing_schedule
from .latent_statistics import latent_loss, log_latent
from .length_loss import LengthLoss
from .logged import Average, Derived, log_averages
from .token_loss import TokenLoss

Logs = dict[str, float | Tensor]

LOGGED = (*canvas_loss.LOGGED, *token_loss.LOGGED, *length_loss.LOGGED, *glancing.LOGGED, *latent_statistics.LOGGED)
DERIVED = (
    *latent_statistics.DERIVED,
    Derived("layerN_loss", "bits per token", "loss of decoder layer N, in training with --deep-supervision"),
)
LAYER_LOSS = re.compile(r"layer(\d+)_loss")


@register_criterion("bnb_loss", dataclass=BnbLossConfig)
class BnbLoss(FairseqCriterion):
    """Loss and statistics of a ``bnb_transformer``.

    Raises ValueError if options are out of range or do not fit each other.
    """

    def __init__(self, task: Any, cfg: BnbLossConfig) -> None:
        super().__init__(task)
        check_options(cfg)
        self.bos: int = task.target_dictionary.bos()
        self.label_smoothing: float = cfg.label_smoothing
        self.length_loss_factor: float = cfg.length_loss_factor
        self.deep_supervision: float = cfg.deep_supervision
        self.kl_schedule = kl_schedule(cfg)
        self.glancing = None if cfg.glancing is None else glancing_schedule(cfg.glancing)
        self.token_loss = TokenLoss(
            str(cfg.token_loss),
            cfg.label_smoothing,
            self.padding_idx,
            cfg.axe_skip_target,
            cfg.oaxe_margin,
            cfg.oaxe_warmup_updates,
        )

    def forward(
        self, model: BnbTransformer, sample: Mapping[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, Logs]:
        """Summed loss in nats, the number of target tokens it covers, and statistics; ``reduce`` has no effect."""
        target, net_input = self._canvas_target(sample["target"]), sample["net_input"]
        target_lengths = target.ne(self.padding_idx).sum(dim=1)
        network = _network(model)
        share = None if self.glancing is None else self.glancing.at(network.num_updates)
        supervises = self.deep_supervision > 0 and model.training
        output = model(
            **net_input,
            target_lengths=None if network.control.has_alignments else target_lengths,
            reveal=Teacher(network, target, target_lengths, share),
            inner_states=supervises,
        )
        loss_of = self._loss_of_tokens(network, output, target, target_lengths)
        per_sentence, counts, token_logs = loss_of(output.prediction)
        logs: Logs = {**token_logs}
        if supervises:
            inner = torch.stack([loss_of(network.decoder.lazy_logits(states))[0] for states in output.inner_states])
            per_sentence = per_sentence + self.deep_supervision * inner.mean(dim=0)
            logs |= {f"layer{i}_loss": loss for i, loss in enumerate(inner.detach().sum(dim=1), start=1)}
        if output.length_logits is not None:
            length_loss = LengthLoss(self.length_loss_factor, network.decoder.max_positions())
            lengths = (net_input["src_lengths"], target_lengths)
            length, length_logs = length_loss(network.length_head, output.length_logits, *lengths)
            per_sentence = per_sentence + length * counts
            logs |= length_logs
        if _revealed(output).tokens is not None:
            hidden = _revealed(output).hidden.sum(dim=1) / output.canvas_lengths.clamp(min=1)
            logs["revealed_sum"] = (1 - hidden).sum()
        if output.posterior is not None:
            kl, latent_logs = latent_loss(output.posterior, net_input["src_lengths"])
            # Validation losses are compared along the training: they have the full factor at all times.
            factor = self.kl_schedule.at(network.num_updates) if model.training else self.kl_schedule.factor
            per_sentence = per_sentence + factor * kl * counts
            logs |= latent_logs
            logs["kl_factor_sum"] = factor * len(target)
        loss, sample_size = per_sentence.sum(), int(counts.sum())
        logs |= {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": len(target),
            "sample_size": sample_size,
        }
        return loss, sample_size, logs

    def _canvas_target(self, target: Tensor) -> Tensor:
        """Prepend [CLS], which the canvas holds and fairseq's targets lack: B x T -> B x (1 + T)."""
        return F.pad(target, (1, 0), value=self.bos)

    def _loss_of_tokens(
        self, network: BnbTransformer, output: NarOutput, target: Tensor, target_lengths: Tensor
    ) -> Callable[[LazyLogits], tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """The loss of logits, N x V: of each sentence, B, with the tokens that it covers and sums for the log."""
        revealed = _revealed(output)
        packing = Packing(revealed.hidden)
        if network.control.has_alignments:
            canvas = (output.canvas_lengths, revealed, packing)
            return CanvasLoss(target, target_lengths, *canvas, network.control.blank, self.label_smoothing)
        # Validation compares models: it has the loss that the warm-up leads to.
        update = network.num_updates if network.training else self.token_loss.warmup_updates
        return partial(self.token_loss, packing=packing, target=target, update=update)

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Logs]) -> None:
        """See fairseq; logs the averages over batches and workers."""
        layers = {int(found[1]) for log in logging_outputs for name in log if (found := LAYER_LOSS.fullmatch(name))}
        losses = ["loss", *(f"layer{layer}_loss" for layer in sorted(layers))]
        log_averages([*(Average(name, name, "token", True, "") for name in losses), *LOGGED], logging_outputs)
        log_latent(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """See fairseq; they can."""
        return True


def check_fits_model(
    criterion: FairseqCriterion, name: str, options: NetworkOptions | None, unused: Sequence[str] = ()
) -> None:
    """Refuse a criterion that does not fit the model.

    Args:
        criterion: the criterion.
        name: its name on the command line.
        options: the network's; None: the model is autoregressive.
        unused: further faults to report in the same error.

    Raises:
        ValueError: if ``bnb_loss`` meets an autoregressive model or another criterion a non-autoregressive one; or
            listing each option of ``bnb_loss`` that the model does not support.
    """
    if isinstance(criterion, BnbLoss) != (options is not None):
        wanted = "one for autoregressive models, not bnb_loss" if options is None else "bnb_loss"
        raise ValueError(f"--criterion for this architecture must be {wanted}, but is {name}")
    problems = list(unused)
    if isinstance(criterion, BnbLoss) and options is not None:
        problems += _misfits(criterion, options)
    if problems:
        raise ValueError("; ".join(problems))


def _misfits(criterion: BnbLoss, options: NetworkOptions) -> list[str]:
    problems = []
    if options.length_control == "ctc" and criterion.token_loss.kind != "ce":
        problems.append(
            f"--token-loss {criterion.token_loss.kind} needs --length-control length, but the model has ctc"
        )
    if criterion.glancing is not None and not options.canvas_tokens:
        problems.append("--glancing needs --canvas-tokens, because the decoder must read what it is shown")
    if criterion.deep_supervision > 0 and options.decoder.layers < 2:
        problems.append(f"--deep-supervision needs --decoder-layers of at least 2, but it is {options.decoder.layers}")
    return problems


def _network(model: BnbTransformer) -> BnbTransformer:
    """The model inside fairseq's distributed wrappers, which may be nested."""
    while (inner := getattr(model, "module", None)) is not None:
        model = inner
    return model


def _revealed(output: NarOutput) -> Revealed:
    if output.revealed is None:
        raise ValueError("the model must return the positions that it predicts, but returned none")
    return output.revealed
