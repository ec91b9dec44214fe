"""Options of the ``sentence_prediction_bnb`` task, and what they may be."""

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
    """Options of the task: those of fairseq's ``sentence_prediction``, and a few of ours."""

    num_classes: int = field(
        default=-1,
        metadata={"help": "classes, or numbers to predict (default: as many as label/dict.txt has, or 1 number)"},
    )
    max_positions: int = field(
        default=512, metadata={"help": "longest item in tokens, special ones counted (the model may allow less)"}
    )
    float32_matmul_precision: MATMUL_PRECISION_CHOICES = field(
        default="highest",
        metadata={
            "help": "torch.set_float32_matmul_precision: 'high' multiplies in TF32 on GPUs, 'medium' in bfloat16, on "
            "CPUs with such instructions too"
        },
    )
    train_subset: str = field(default=II("dataset.train_subset"))
    num_shards: int = II("dataset.num_shards")
    shard_id: int = II("dataset.shard_id")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    maximize_best_checkpoint_metric: bool = II("checkpoint.maximize_best_checkpoint_metric")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = II("dataset.dataset_impl")


def check_options(cfg: SentencePredictionBnbConfig) -> None:
    """Refuse options of fairseq's task that would have no effect, all at once.

    Args:
        cfg: the options.

    Raises:
        ValueError: listing each, and what it must be.
    """
    problems = [
        f"--{name.replace('_', '-')} must stay {value}, [CLS] and [SEP] stand where BERT has them"
        for name, value in FIXED.items()
        if getattr(cfg, name) != value
    ]
    if str(cfg.shorten_method) == "random_crop":
        problems.append("--shorten-method must be none or truncate, but is random_crop")
    if problems:
        raise ValueError(f"sentence_prediction_bnb: {'; '.join(problems)}")


def count_classes(cfg: SentencePredictionBnbConfig, labels: Sequence[str]) -> int:
    """Take ``--num-classes`` from the labels, or compare it with them.

    Args:
        cfg: the options.
        labels: text of the labels; none for regression.

    Returns:
        Classes, or numbers to predict.

    Raises:
        ValueError: if it is given and differs, or there is nothing to tell apart.
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
    """List the metrics that fairseq's criterion logs in validation.

    Args:
        cfg: the criterion's options.
        regression: whether numbers are predicted.

    Returns:
        Their names.
    """
    found = {"nll_loss"} if regression else {"nll_loss", "accuracy"}
    for option, names in REPORTED.items():
        if getattr(cfg, option):
            found |= names
    return found


def check_reports(cfg: Any, labels: Sequence[str]) -> None:
    """See that fairseq's criterion can compute the metrics that it is to report.

    Args:
        cfg: the criterion's options.
        labels: text of the labels; none for regression.

    Raises:
        ValueError: naming the option and what it needs.
    """
    name = getattr(cfg, "_name", "sentence_prediction")
    if name != "sentence_prediction":
        raise ValueError(f"--criterion must be sentence_prediction with this task, but is {name}")
    for option in (option for option in REPORTED if getattr(cfg, option)):
        flag = f"--{option.replace('_', '-')}"
        if cfg.regression_target and option != "report_pearson_and_spearman":
            raise ValueError(f"{flag} is for classes and cannot be used with --regression-target")
        if option == "report_acc_and_f1" and labels and set(labels) != {"0", "1"}:
            raise ValueError(f"{flag} needs the labels 0 and 1, but they are {', '.join(labels)}")
        if not all(label.lstrip("-").isdecimal() for label in labels):
            raise ValueError(f"{flag} needs labels that are whole numbers, but they are {', '.join(labels)}")
