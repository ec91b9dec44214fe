"""Options of the ``sentence_prediction_bnb`` task, and their limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import II

from ..tasks.config import DATASET_IMPL_CHOICES, MATMUL_PRECISION_CHOICES, CheckpointsConfig

REPORTED = {  # fairseq's options -> the metrics that they add
    "report_mcc": {"mcc"},  # all three need labels that are numbers
    "report_acc_and_f1": {"acc_and_f1", "f1"},
    "report_pearson_and_spearman": {"pearson_and_spearman", "pearson", "spearman"},
}
FIXED = {  # fairseq's options that have no effect here -> the value that they must keep
    "init_token": None,
    "separator_token": None,
    "add_prev_output_tokens": False,
    "d2v2_multi": False,
}


@dataclass
class SentencePredictionBnbConfig(CheckpointsConfig, SentencePredictionConfig):
    """Options of fairseq's ``sentence_prediction``, and a few more."""

    num_classes: int = field(
        default=-1,
        metadata={
            "help": "number of classes, or of numbers to predict (default: the labels in label/dict.txt, or 1 number)"
        },
    )
    max_positions: int = field(
        default=512, metadata={"help": "longest item in tokens, special ones included (the model may allow less)"}
    )
    float32_matmul_precision: MATMUL_PRECISION_CHOICES = field(
        default="highest",
        metadata={
            "help": "precision of float32 matrix products: 'high' uses TF32 on GPUs, 'medium' bfloat16, also on "
            "CPUs where that is faster"
        },
    )
    train_subset: str = field(default=II("dataset.train_subset"))
    num_shards: int = II("dataset.num_shards")
    shard_id: int = II("dataset.shard_id")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    maximize_best_checkpoint_metric: bool = II("checkpoint.maximize_best_checkpoint_metric")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = II("dataset.dataset_impl")


def check_options(cfg: SentencePredictionBnbConfig) -> None:
    """Refuse options of fairseq's task that have no effect here, all at once.

    Raises ValueError, listing each option with its limit.
    """
    problems = [
        f"--{name.replace('_', '-')} must be {value}, because [CLS] and [SEP] stand where BERT has them"
        for name, value in FIXED.items()
        if getattr(cfg, name) != value
    ]
    if str(cfg.shorten_method) == "random_crop":
        problems.append("--shorten-method must be none or truncate, but is random_crop")
    if problems:
        raise ValueError(f"sentence_prediction_bnb: {'; '.join(problems)}")


def count_classes(cfg: SentencePredictionBnbConfig, labels: Sequence[str]) -> int:
    """Number of classes, or 1 number to predict: ``--num-classes`` checked against the labels.

    Raises ValueError if it is set and differs from the labels, or there are fewer than 2.
    """
    given = cfg.num_classes
    if cfg.regression_target:
        if given not in (-1, 1):
            raise ValueError(f"--num-classes must be 1 with --regression-target, but is {given}")
        return 1
    if len(labels) < 2:
        raise ValueError(f"{cfg.data}/label/dict.txt must list at least 2 labels, but lists {len(labels)}")
    if given not in (-1, len(labels)):
        raise ValueError(f"--num-classes must be {len(labels)}, as {cfg.data}/label/dict.txt has, but is {given}")
    return len(labels)


def classification_metrics(cfg: Any, regression: bool) -> set[str]:
    """Names of the metrics that fairseq's criterion logs in validation."""
    found = {"nll_loss"} if regression else {"nll_loss", "accuracy"}
    for option, names in REPORTED.items():
        if getattr(cfg, option):
            found |= names
    return found


def check_reports(cfg: Any, labels: Sequence[str]) -> None:
    """Refuse a criterion, or a metric that it cannot compute from these labels; there are none in regression.

    Raises ValueError, naming the option and its requirement.
    """
    name = getattr(cfg, "_name", "sentence_prediction")
    if name != "sentence_prediction":
        raise ValueError(f"--criterion must be sentence_prediction with this task, but is {name}")
    for option in (option for option in REPORTED if getattr(cfg, option)):
        flag = f"--{option.replace('_', '-')}"
        if cfg.regression_target and option != "report_pearson_and_spearman":
            raise ValueError(f"{flag} needs classes, but --regression-target predicts numbers")
        if option == "report_acc_and_f1" and labels and set(labels) != {"0", "1"}:
            raise ValueError(f"{flag} needs the labels 0 and 1, but they are {', '.join(labels)}")
        if not all(label.lstrip("-").isdecimal() for label in labels):
            raise ValueError(f"{flag} needs integer labels, but they are {', '.join(labels)}")
