"""Options of the ``pretraining_bnb`` task."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum
from omegaconf import II

from ..data.noise import CONTINUED
from ..data.pair_dataset import SPECIAL_SYMBOLS
from .config import BnbTaskConfig

STRATEGY_CHOICES = ChoiceEnum(["ae", "mlm", "plm", "clm"])
BREAK_CHOICES = ChoiceEnum(["complete_doc", "eos"])


@dataclass
class PretrainingBnbConfig(BnbTaskConfig):
    """Options of the task, beside those of all tasks."""

    strategy: STRATEGY_CHOICES = field(  # type: ignore[valid-type]
        default="mlm",
        metadata={
            "help": "input and output: the text for itself (ae), the masked text for the text (mlm), the reordered "
            "text for the text (plm), or the text's beginning for its end (clm)"
        },
    )
    tokens_per_sample: int = field(
        default=128,
        metadata={"help": "longest block of a document in tokens, [CLS] and [SEP] included"},
    )
    sample_break_mode: BREAK_CHOICES = field(  # type: ignore[valid-type]
        default="complete_doc",
        metadata={"help": "end of documents: empty lines (complete_doc), or every line (eos)"},
    )
    mask_prob: float = field(default=0.3, metadata={"help": "mlm: share of the tokens to predict"})
    leave_unmasked_prob: float = field(default=0.1, metadata={"help": "mlm: share of these tokens left unmasked"})
    random_token_prob: float = field(
        default=0.1, metadata={"help": "mlm: share of these tokens replaced by random ones; the rest become [MASK]"}
    )
    permute_prob: float = field(default=0.5, metadata={"help": "plm: share of the tokens to reorder"})
    continuation_min: float = field(default=0.2, metadata={"help": "clm: smallest share of a block to predict"})
    continuation_max: float = field(default=0.3, metadata={"help": "clm: largest share of a block to predict"})
    seed: int = II("common.seed")


def check_pretraining_options(cfg: PretrainingBnbConfig) -> None:
    """Refuse options out of range, all at once.

    Raises ValueError, listing each option with its limit and value.
    """
    problems = []
    shortest = SPECIAL_SYMBOLS + (CONTINUED if str(cfg.strategy) == "clm" else 1)
    if cfg.tokens_per_sample < shortest:
        problems.append(
            f"--tokens-per-sample must be at least {shortest} with --strategy {cfg.strategy}: [CLS], [SEP] and "
            f"{shortest - SPECIAL_SYMBOLS} of the text; but is {cfg.tokens_per_sample}"
        )
    for name in ("mask_prob", "leave_unmasked_prob", "random_token_prob", "permute_prob"):
        value = getattr(cfg, name)
        if not 0 <= value <= 1:
            problems.append(f"--{name.replace('_', '-')} must lie in [0, 1], but is {value}")
    if cfg.leave_unmasked_prob + cfg.random_token_prob > 1:
        shares = f"{cfg.leave_unmasked_prob} and {cfg.random_token_prob}"
        problems.append(f"--leave-unmasked-prob and --random-token-prob must add up to at most 1, but are {shares}")
    if not 0 < cfg.continuation_min <= cfg.continuation_max < 1:
        shares = f"{cfg.continuation_min} and {cfg.continuation_max}"
        problems.append(
            f"--continuation-min and --continuation-max must lie in (0, 1), in this order, but are {shares}"
        )
    if problems:
        raise ValueError("; ".join(problems))
