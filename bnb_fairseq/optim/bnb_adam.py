"""fairseq's Adam with separate learning rates for parameters that start from a BERT."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import nn

from ..problems import Problems
from ..start.bert_groups import NEW, BertGroup, group_parameters

logger = logging.getLogger(__name__)


@dataclass
class BnbAdamConfig(FairseqAdamConfig):
    """Adam's options, and two that only this optimizer accepts."""

    bert_lr_factor: float = field(
        default=1.0, metadata={"help": "learning rate of parameters from a BERT, as a multiple of --lr"}
    )
    layer_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "layer-wise decay d: layer l of a BERT's n layers learns at d^(n-l) times the rate of the last "
            "layer and the head, embeddings at d^n"
        },
    )


@register_optimizer("bnb_adam", dataclass=BnbAdamConfig)
class BnbAdam(FairseqAdam):
    """Adam in groups, each with the schedule's learning rate times a constant.

    Randomly initialised parameters learn at the schedule's rate, in every layer. ``mark_parameters`` marks those that
    start from a BERT. Layer-wise decay: Clark et al. 2020 (ELECTRA); Howard and Ruder 2018.

    Raises ValueError if a rate is out of range, or if no parameter is marked, so that the rates would have no effect.
    """

    def __init__(self, cfg: BnbAdamConfig, params: Iterable[nn.Parameter]) -> None:
        groups = group_parameters(params)
        check_options(cfg, any(group != NEW for group in groups))
        self._scales = [_scale(cfg, group) for group in groups]
        super().__init__(
            cfg,
            [
                {"params": members, "name": group.name, "lr_scale": scale}
                for (group, members), scale in zip(groups.items(), self._scales, strict=True)
            ],
        )
        self.set_lr(self.optimizer_config["lr"])
        for line in describe(groups, self._scales):
            logger.info(line)

    def get_lr(self) -> float:
        """The schedule's learning rate, that of new parameters."""
        first = self.param_groups[0]
        rate: float = first["lr"] / first["lr_scale"]
        return rate

    def set_lr(self, lr: float) -> None:
        """See fairseq; scales the rate of each group."""
        for group in self.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Mapping[str, Any] | None = None) -> None:
        """See fairseq; keeps today's rates and refuses a checkpoint with other groups (ValueError)."""
        mine, saved = (
            [group["name"] for group in groups] for groups in (self.param_groups, state_dict["param_groups"])
        )
        if mine != saved:
            raise ValueError(
                f"the checkpoint's parameter groups ({', '.join(saved)}) must equal this training's "
                f"({', '.join(mine)}): keep --freeze and --bert-encoder as they were, or pass --reset-optimizer"
            )
        super().load_state_dict(state_dict, optimizer_overrides)
        rate = (optimizer_overrides or {}).get("lr", self.get_lr())
        for group, scale in zip(self.param_groups, self._scales, strict=True):
            group["lr_scale"] = scale
        self.set_lr(rate)


def check_options(cfg: BnbAdamConfig, has_bert: bool) -> None:
    """Refuse options that are out of range, or without effect because no parameter starts from a BERT.

    Raises ValueError, listing each option with its limit and value.
    """
    problems = Problems("bnb_adam")
    factor, decay = cfg.bert_lr_factor, cfg.layer_lr_decay
    problems.require(factor > 0, "bert-lr-factor", "must be positive (to keep parts unchanged, use --freeze)", factor)
    problems.require(0 < decay <= 1, "layer-lr-decay", "must lie in (0, 1]", decay)
    for option, value in {"bert-lr-factor": factor, "layer-lr-decay": decay}.items():
        constraint = (
            "must be 1 if no parameter starts from a BERT (no --bert-encoder, or all frozen), or if fairseq flattens "
            "the parameters (--fp16 without --fp16-no-flatten-grads, --ddp-backend fully_sharded)"
        )
        problems.require(has_bert or value == 1, option, constraint, value)
    problems.raise_if_any()


def describe(groups: Mapping[BertGroup, list[nn.Parameter]], scales: list[float]) -> list[str]:
    """The learning rate of each group: one line a rate, the highest first."""
    by_rate: dict[float, list[BertGroup]] = {}
    for group, scale in zip(groups, scales, strict=True):
        by_rate.setdefault(scale, []).append(group)
    lines = []
    for scale, members in sorted(by_rate.items(), key=lambda item: item[0], reverse=True):
        count = sum(parameter.numel() for group in members for parameter in groups[group])
        lines.append(
            f"learning rate x {scale:.6g}: {', '.join(group.name for group in members)} ({count:,} parameters)"
        )
    return lines


def _scale(cfg: BnbAdamConfig, group: BertGroup) -> float:
    if group.layers_above is None:
        return 1.0
    return float(cfg.bert_lr_factor * cfg.layer_lr_decay**group.layers_above)
