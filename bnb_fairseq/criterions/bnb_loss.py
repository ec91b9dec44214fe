"""The criterion of ``bnb_transformer``: CTC, or a token loss with length classification; and the latent's KL.

The loss of a batch is the sum over its sentences and does not depend on how sentences fall into batches. Terms that
belong to a sentence rather than to a token (length, latent, divergence from uniform) are weighted by the sentence's
number of target tokens, so that dividing by the tokens of all batches gives their token-weighted means.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from torch import Tensor

from ..losses.packing import Packing
from ..models.bnb_transformer import BnbTransformer
from ..modules.canvas import Revealed
from ..modules.lazy_logits import LazyLogits
from ..network.nar_network import NarOutput
from ..network.options import NetworkOptions
from . import canvas_loss, deep_supervision, glancing, latent_statistics, length_loss, token_loss
from .canvas_loss import CanvasLoss
from .config import BnbLossConfig, check_options, kl_schedule
from .deep_supervision import log_layers, supervise
from .glancing import Teacher, glancing_schedule
from .latent_statistics import latent_loss, log_latent
from .length_loss import LengthLoss
from .logged import Average, log_averages
from .token_loss import TokenLoss

Logs = dict[str, float | Tensor]

LOGGED = (*canvas_loss.LOGGED, *token_loss.LOGGED, *length_loss.LOGGED, *glancing.LOGGED, *latent_statistics.LOGGED)
DERIVED = (*latent_statistics.DERIVED, *deep_supervision.DERIVED)


class Computed(NamedTuple):
    """The loss of a batch before the latent's part.

    Attributes:
        output: the model's.
        per_sentence: B, nats, summed over each sentence's tokens.
        counts: B, target tokens that the loss covers.
        logs: sums for the log.
    """

    output: NarOutput
    per_sentence: Tensor
    counts: Tensor
    logs: Logs


@register_criterion("bnb_loss", dataclass=BnbLossConfig)
class BnbLoss(FairseqCriterion):
    """Loss and statistics of a ``bnb_transformer``.

    Args:
        task: the task; gives the target dictionary.
        cfg: the options.

    Raises:
        ValueError: if options are out of range or do not fit each other.
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
        """Compute the loss of a batch.

        Args:
            model: the model, or fairseq's distributed wrapper around it.
            sample: a batch of ``SentencePairDataset`` with targets.
            reduce: fairseq's flag; the loss is always a sum.

        Returns:
            The summed loss (nats), the number of target tokens it covers, and statistics.
        """
        target, net_input = self._canvas_target(sample["target"]), sample["net_input"]
        target_lengths = target.ne(self.padding_idx).sum(dim=1)
        compute = self._ctc if _network(model).control.has_alignments else self._tokens
        output, per_sentence, counts, logs = compute(model, net_input, target, target_lengths)
        if _revealed(output).tokens is not None:
            hidden = _revealed(output).hidden.sum(dim=1) / output.canvas_lengths.clamp(min=1)
            logs["revealed_sum"] = (1 - hidden).sum()
        if output.posterior is not None:
            kl, latent_logs = latent_loss(output.posterior, net_input["src_lengths"])
            # Validation losses are compared along the training: they have the full factor at all times.
            factor = self.kl_schedule.at(_network(model).num_updates) if model.training else self.kl_schedule.factor
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
        """Put [CLS], which the canvas holds and fairseq's targets lack, in front: B x T -> B x (1 + T)."""
        return F.pad(target, (1, 0), value=self.bos)

    def _share(self, network: BnbTransformer) -> float | None:
        return None if self.glancing is None else self.glancing.at(network.num_updates)

    def _supervises(self, model: BnbTransformer) -> bool:
        return self.deep_supervision > 0 and model.training

    def _with_layers(
        self, model: BnbTransformer, output: NarOutput, per_sentence: Tensor, loss_of: Callable[[LazyLogits], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the inner layers' part to the loss of each sentence, B; ``loss_of`` computes it from logits, N x V."""
        if not self._supervises(model):
            return per_sentence, {}
        head = _network(model).decoder.lazy_logits
        inner, logs = supervise([loss_of(head(states)) for states in output.inner_states])
        return per_sentence + self.deep_supervision * inner, logs

    def _ctc(
        self, model: BnbTransformer, net_input: Mapping[str, Tensor], target: Tensor, target_lengths: Tensor
    ) -> Computed:
        network = _network(model)
        teacher = Teacher(network, target, target_lengths, self._share(network))
        output = model(**net_input, reveal=teacher, inner_states=self._supervises(model))
        revealed = _revealed(output)
        loss_of = CanvasLoss(
            target,
            target_lengths,
            output.canvas_lengths,
            revealed,
            Packing(revealed.hidden),
            network.control.blank,
            self.label_smoothing,
        )
        per_sentence, counts, logs = loss_of(output.prediction)
        per_sentence, layer_logs = self._with_layers(model, output, per_sentence, lambda logits: loss_of(logits)[0])
        return Computed(output, per_sentence, counts, {**logs, **layer_logs})

    def _tokens(
        self, model: BnbTransformer, net_input: Mapping[str, Tensor], target: Tensor, target_lengths: Tensor
    ) -> Computed:
        network = _network(model)
        teacher = Teacher(network, target, target_lengths, self._share(network))
        supervises = self._supervises(model)
        output = model(**net_input, target_lengths=target_lengths, reveal=teacher, inner_states=supervises)
        packing = Packing(_revealed(output).hidden)
        # Validation compares models: it has the loss that the warm-up leads to.
        update = network.num_updates if model.training else self.token_loss.warmup_updates
        per_sentence, token_logs = self.token_loss(output.prediction, packing, target, update)
        per_sentence, layer_logs = self._with_layers(
            model, output, per_sentence, lambda logits: self.token_loss(logits, packing, target, update)[0]
        )
        if output.length_logits is None:
            raise ValueError("the model has no length head, though it does not use CTC")
        loss_of = LengthLoss(self.length_loss_factor, network.decoder.max_positions())
        length, length_logs = loss_of(
            network.length_head, output.length_logits, net_input["src_lengths"], target_lengths
        )
        per_sentence = per_sentence + length * packing.counts
        logs: Logs = {**length_logs, **token_logs, **layer_logs}
        return Computed(output, per_sentence, packing.counts, logs)

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Logs]) -> None:
        """Log the averages over batches and workers.

        Args:
            logging_outputs: what ``forward`` returned, one for each batch and worker.
        """
        log_averages([Average("loss", "loss", "token", True, ""), *LOGGED], logging_outputs)
        log_latent(logging_outputs)
        log_layers(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Tell fairseq that workers' statistics may be added up before they are reduced."""
        return True


def check_fits_model(
    criterion: FairseqCriterion, name: str, options: NetworkOptions | None, unused: Sequence[str] = ()
) -> None:
    """See that criterion and model belong together.

    Args:
        criterion: the criterion.
        name: its name on the command line.
        options: the network's; None: the model is autoregressive.
        unused: what else is wrong with the options of the training, for the same error.

    Raises:
        ValueError: if a non-autoregressive model meets another criterion than ``bnb_loss``, or the other way round; or
            naming every option of ``bnb_loss`` that does not fit the model: a token loss, but it is trained with CTC;
            glancing, but its decoder reads no tokens; deep supervision, but its decoder has one layer.
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
            f"--token-loss {criterion.token_loss.kind} needs --length-control length, but the model has ctc, whose "
            f"loss sums over all alignments"
        )
    if criterion.glancing is not None and not options.canvas_tokens:
        problems.append("--glancing needs --canvas-tokens, by which the decoder reads what it is shown")
    if criterion.deep_supervision > 0 and options.decoder.layers < 2:
        problems.append(
            f"--deep-supervision needs a decoder of several layers, but --decoder-layers is {options.decoder.layers}"
        )
    return problems


def _network(model: BnbTransformer) -> BnbTransformer:
    """Look behind fairseq's distributed wrappers, which lie one around the other."""
    while (inner := getattr(model, "module", None)) is not None:
        model = inner
    return model


def _revealed(output: NarOutput) -> Revealed:
    """Return what the model was shown; it is always asked for here."""
    if output.revealed is None:
        raise ValueError("the model must tell where it predicts, but does not")
    return output.revealed
