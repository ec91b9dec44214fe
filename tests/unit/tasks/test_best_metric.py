"""--best-checkpoint-metric: the names that are accepted before a training are those that its validation logs."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from omegaconf import DictConfig

from bnb_fairseq.classification.sentence_prediction_config import classification_metrics
from bnb_fairseq.criterions.validation_metrics import ALWAYS, check_best_metric, logged_metrics
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import AUTOREGRESSIVE, BERT2BERT, NON_AUTOREGRESSIVE

Config = Callable[..., DictConfig]
LENGTH = [*NON_AUTOREGRESSIVE, "--length-control", "length"]


@pytest.mark.parametrize(
    "arguments",
    [
        NON_AUTOREGRESSIVE,
        [*NON_AUTOREGRESSIVE, "--label-smoothing", "0", "--eval-bleu", "--eval-rouge"],
        [*NON_AUTOREGRESSIVE, "--latent", "vae", "--latent-size", "3"],
        [*NON_AUTOREGRESSIVE, "--latent", "vae", "--latent-size", "40"],
        [*NON_AUTOREGRESSIVE, "--canvas-tokens", "--glancing", "0.5"],
        LENGTH,
        [*LENGTH, "--token-loss", "axe"],
        [*LENGTH, "--token-loss", "oaxe", "--latent", "vae", "--latent-size", "3"],
        BERT2BERT,
        [*BERT2BERT, "--report-accuracy"],
        [*AUTOREGRESSIVE, "--criterion", "cross_entropy", "--eval-bleu"],
        [*AUTOREGRESSIVE, "--criterion", "cross_entropy", "--sentence-avg"],
    ],
)
def test_exactly_what_a_validation_logs(arguments: list[str], config: Config) -> None:
    cfg = config(*arguments)
    task = TranslationBnbTask.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model).eval(), task.build_criterion(cfg.criterion).eval()
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[0], dataset[1]])
    with torch.no_grad():
        _, _, logs = task.valid_step(batch, model, criterion)
    with metrics.aggregate(new_root=True) as logged:
        task.reduce_metrics([logs], criterion)
    shown = {name for name in logged.get_smoothed_values() if not name.startswith("_")}
    known = logged_metrics(criterion, task.network)
    assert known is not None
    assert known | set(task.validation_metrics()) == shown | {"num_updates"}


@pytest.mark.parametrize(
    ("arguments", "metric", "listed"),
    [
        (NON_AUTOREGRESSIVE, "blue", "blank_share, bsz, canvas_overflow, loss, nll_loss, num_updates"),
        (NON_AUTOREGRESSIVE, "length_accuracy", "canvas_overflow"),
        ([*LENGTH, "--latent", "vae", "--latent-size", "3"], "kl_unit_3", "kl_factor, kl_loss, length_accuracy"),
        ([*BERT2BERT, "--eval-bleu"], "accuracy", "bleu, bsz, loss, nll_loss, num_updates, ppl"),
    ],
)
def test_others_are_refused(arguments: list[str], metric: str, listed: str, config: Config) -> None:
    cfg = config(*arguments, "--best-checkpoint-metric", metric)
    task = TranslationBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model)
    with pytest.raises(ValueError, match=names("--best-checkpoint-metric", listed, metric)):
        task.build_criterion(cfg.criterion)
    saved = TranslationBnbTask.setup_task(cfg.task)
    saved.build_model(cfg.model, from_checkpoint=True)
    saved.build_criterion(cfg.criterion)  # nothing is trained


def test_metrics_of_an_unknown_criterion_are_not_checked() -> None:
    class Other(FairseqCriterion):
        @classmethod
        def reduce_metrics(cls, logging_outputs: object) -> None:
            raise TypeError("no such statistics")

    known = logged_metrics(Other(SimpleNamespace()), None)
    assert known is None
    check_best_metric("blue", False, known, ())


def test_classification() -> None:
    cfg = SimpleNamespace(report_mcc=True, report_acc_and_f1=False, report_pearson_and_spearman=True)
    expected = {"nll_loss", "accuracy", "mcc", "pearson_and_spearman", "pearson", "spearman"}
    assert classification_metrics(cfg, regression=False) == expected
    assert classification_metrics(cfg, regression=True) == expected - {"accuracy"}
    with pytest.raises(ValueError, match=names("accuracy", "bsz", "f1")):
        check_best_metric("f1", True, ALWAYS, {"accuracy"})


@pytest.mark.parametrize(
    ("metric", "maximize", "warning"),
    [
        ("loss", False, None),
        ("loss", True, "must not be set with --best-checkpoint-metric loss"),
        ("canvas_overflow", True, "must not be set with --best-checkpoint-metric canvas_overflow"),
        ("bleu", True, None),
        ("bleu", False, "is needed with --best-checkpoint-metric bleu"),
        ("rougeL", False, "is needed with --best-checkpoint-metric rougeL"),
        ("length_accuracy", False, "is needed with --best-checkpoint-metric length_accuracy"),
        ("blank_share", False, None),
        ("blank_share", True, None),
    ],
)
def test_the_worst_is_not_the_best(
    metric: str, maximize: bool, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    check_best_metric(metric, maximize, {metric}, ())
    assert caplog.messages == ([] if warning is None else [f"--maximize-best-checkpoint-metric {warning}"])
