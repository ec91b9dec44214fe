"""Options of the criterion, and the KL schedule."""

import math
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from ..problems import Problems

TOKEN_LOSS_CHOICES = ChoiceEnum(["ce", "axe", "oaxe"])
KL_SCHEDULE_CHOICES = ChoiceEnum(["constant", "cyclic"])


@dataclass
class BnbLossConfig(FairseqDataclass):
    """Options of the criterion."""

    label_smoothing: float = field(
        default=0.1,
        metadata={"help": "share of the uniform distribution in the targets; under CTC, weight of KL(uniform || p)"},
    )
    length_loss_factor: float = field(default=0.1, metadata={"help": "weight of the length classifier's loss"})
    token_loss: TOKEN_LOSS_CHOICES = field(  # type: ignore[valid-type]
        default="ce",
        metadata={
            "help": "--length-control length: cross-entropy of each position (ce), of the best monotonic alignment "
            "(axe), or of the best order (oaxe)"
        },
    )
    axe_skip_target: float = field(default=1.0, metadata={"help": "axe: weight of skipped target tokens"})
    oaxe_margin: float = field(
        default=0.0, metadata={"help": "oaxe: drop tokens whose probability is at most this (0: keep all)"}
    )
    oaxe_warmup_updates: int = field(
        default=0, metadata={"help": "oaxe: updates of linear change from cross-entropy to oaxe (0: none)"}
    )
    glancing: Optional[str] = field(
        default=None,
        metadata={
            "help": "--canvas-tokens: share of the wrongly guessed positions to show the decoder, such as 0.5, or "
            "FROM:TO@UPDATES, such as 0.5:0.1@200k (default: show a uniformly drawn number of positions)"
        },
    )
    deep_supervision: float = field(
        default=0.0,
        metadata={
            "help": "weight of the mean loss over the lower decoder layers, read through the same output layer (0: off)"
        },
    )
    kl_factor: float = field(default=1.0, metadata={"help": "--latent vae: weight of KL(posterior || standard normal)"})
    kl_schedule: KL_SCHEDULE_CHOICES = field(  # type: ignore[valid-type]
        default="constant", metadata={"help": "--latent vae: keep --kl-factor constant, or rise to it in cycles"}
    )
    kl_cycles: int = field(default=4, metadata={"help": "--kl-schedule cyclic: number of cycles"})
    kl_zero_share: float = field(
        default=0.0,
        metadata={"help": "--kl-schedule cyclic: share of each cycle, at its start, with factor 0"},
    )
    kl_increase_share: float = field(
        default=0.5,
        metadata={"help": "--kl-schedule cyclic: share of each cycle in which the factor then rises linearly"},
    )
    kl_total_updates: int = field(
        default=0, metadata={"help": "--kl-schedule cyclic: updates of all cycles together (0: --max-update)"}
    )
    max_update: int = II("optimization.max_update")


@dataclass(frozen=True)
class KlSchedule:
    """The weight of the KL term: constant, or cyclic annealing (Fu et al. 2019, equation 6) with a share at zero.

    Each cycle stays at zero, rises linearly, and stays at the full factor, which also holds after the last cycle.

    Attributes:
        factor: the full factor.
        cycles: number of cycles; 0: constant.
        total_updates: updates of all cycles together.
        zero_share: share of a cycle at zero.
        increase_share: share of a cycle in which the factor rises.
    """

    factor: float
    cycles: int = 0
    total_updates: int = 0
    zero_share: float = 0.0
    increase_share: float = 0.0

    def at(self, update: int) -> float:
        """Factor after ``update`` updates."""
        if self.cycles == 0 or update >= self.total_updates:
            return self.factor
        place = math.fmod(update * self.cycles / self.total_updates, 1.0)  # in the cycle, from 0 to 1
        if place < self.zero_share:
            return 0.0
        if place < self.zero_share + self.increase_share:
            return self.factor * (place - self.zero_share) / self.increase_share
        return self.factor


def kl_schedule(cfg: BnbLossConfig) -> KlSchedule:
    """The schedule that checked options describe."""
    if str(cfg.kl_schedule) == "constant":
        return KlSchedule(cfg.kl_factor)
    total = cfg.kl_total_updates or cfg.max_update
    return KlSchedule(cfg.kl_factor, cfg.kl_cycles, total, cfg.kl_zero_share, cfg.kl_increase_share)


def check_options(cfg: BnbLossConfig) -> None:
    """Refuse options that are out of range or do not fit each other, all at once.

    Raises ValueError, listing each option with its limit and value.
    """
    problems = Problems("bnb_loss")
    problems.require(0 <= cfg.label_smoothing < 1, "label-smoothing", "must lie in [0, 1)", cfg.label_smoothing)
    problems.require(0 <= cfg.oaxe_margin < 1, "oaxe-margin", "must lie in [0, 1)", cfg.oaxe_margin)
    for name in ("length_loss_factor", "axe_skip_target", "oaxe_warmup_updates", "deep_supervision", "kl_factor"):
        value = getattr(cfg, name)
        problems.require(0 <= value < math.inf, name.replace("_", "-"), "must be finite and not negative", value)
    if str(cfg.kl_schedule) == "cyclic":
        shares = (cfg.kl_zero_share, cfg.kl_increase_share)
        fits = min(shares) >= 0 and sum(shares) <= 1 + 1e-9
        both = " and ".join(map(str, shares))
        problems.require(
            fits, "kl-zero-share and --kl-increase-share", "must not be negative and add up to at most 1", both
        )
        problems.require(cfg.kl_cycles >= 1, "kl-cycles", "must be at least 1", cfg.kl_cycles)
        total = cfg.kl_total_updates or cfg.max_update
        problems.require(
            total >= cfg.kl_cycles, "kl-total-updates", "or --max-update must be at least --kl-cycles", total
        )
    problems.raise_if_any()
