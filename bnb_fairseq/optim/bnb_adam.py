"""fairseq's Adam with learning rates of their own for parameters that start from a BERT."""

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
    """Options of the optimizer: Adam's, and two of its own, which no other optimizer accepts."""

    bert_lr_factor: float = field(
        default=1.0, metadata={"help": "parameters that start from a BERT learn at this many times --lr"}
    )
    layer_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "layer l of n of a BERT learns at this to the power of n - l times the rate of the last one and of "
            "the head, embeddings at this to the power of n"
        },
    )


@register_optimizer("bnb_adam", dataclass=BnbAdamConfig)
class BnbAdam(FairseqAdam):
    """Adam in groups: the learning rate of each is the schedule's times a constant.

    Parameters that start random learn at the schedule's rate itself, in whatever layer they stand. Layer-wise decay:
    Clark et al. 2020 (ELECTRA); Howard and Ruder 2018 (discriminative fine-tuning).

    Args:
        cfg: the options.
        params: parameters to train, marked by ``mark_parameters`` where they start from a BERT.

    Raises:
        ValueError: if a rate is out of range, or no parameter is marked, so that the rates would have no effect.
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
        """Return the schedule's learning rate, that of new parameters."""
        first = self.param_groups[0]
        rate: float = first["lr"] / first["lr_scale"]
        return rate

    def set_lr(self, lr: float) -> None:
        """Set the learning rate.

        Args:
            lr: the schedule's.
        """
        for group in self.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Mapping[str, Any] | None = None) -> None:
        """Go on from a checkpoint; the rates are those of today's options, as fairseq does it for all of Adam's.

        Args:
            state_dict: what ``state_dict`` returned when the checkpoint was written.
            optimizer_overrides: fairseq's ``--optimizer-overrides``.

        Raises:
            ValueError: if the checkpoint's parameters stand in other groups.
        """
        mine, saved = (
            [group["name"] for group in groups] for groups in (self.param_groups, state_dict["param_groups"])
        )
        if mine != saved:
            raise ValueError(
                f"the checkpoint was trained with other parameters ({', '.join(saved)}) than are to be trained now "
                f"({', '.join(mine)}): keep --freeze and --bert-encoder as they were, or give --reset-optimizer"
            )
        super().load_state_dict(state_dict, optimizer_overrides)
        rate = (optimizer_overrides or {}).get("lr", self.get_lr())
        for group, scale in zip(self.param_groups, self._scales, strict=True):
            group["lr_scale"] = scale
        self.set_lr(rate)


def check_options(cfg: BnbAdamConfig, has_bert: bool) -> None:
    """Refuse options that are out of range or would have no effect, all at once.

    Args:
        cfg: the options.
        has_bert: whether any parameter starts from a BERT.

    Raises:
        ValueError: listing each offending option, what it must be, and what it is.
    """
    problems = Problems("bnb_adam")
    factor, decay = cfg.bert_lr_factor, cfg.layer_lr_decay
    problems.require(factor > 0, "bert-lr-factor", "must be positive (to leave parts as they are: --freeze)", factor)
    problems.require(0 < decay <= 1, "layer-lr-decay", "must lie in (0, 1]", decay)
    for option, value in {"bert-lr-factor": factor, "layer-lr-decay": decay}.items():
        constraint = (
            "must be 1 where no parameter starts from a BERT (--bert-encoder is not set, or all is frozen) or fairseq "
            "joins all parameters into one (--fp16 without --fp16-no-flatten-grads, --ddp-backend fully_sharded)"
        )
        problems.require(has_bert or value == 1, option, constraint, value)
    problems.raise_if_any()


def describe(groups: Mapping[BertGroup, list[nn.Parameter]], scales: list[float]) -> list[str]:
    """Tell at which rate each group learns.

    Args:
        groups: the groups.
        scales: the factor of each.

    Returns:
        One line a rate, the highest first.
    """
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
