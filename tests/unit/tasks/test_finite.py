"""Losses, gradients and parameters that are no longer numbers stop a training, with an error that says where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.optim import build_optimizer
from omegaconf import DictConfig
from torch import nn

from bnb_fairseq.tasks.finite import check_loss, check_parameters
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import BERT2BERT, NON_AUTOREGRESSIVE

Config = Callable[..., DictConfig]
ARCHITECTURES = {"bnb_transformer": NON_AUTOREGRESSIVE, "bert2bert": BERT2BERT}


class Step:
    """A training step on both sentences of the training data."""

    def __init__(self, cfg: DictConfig) -> None:
        torch.manual_seed(1)
        self.task = TranslationBnbTask.setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        self.criterion = self.task.build_criterion(cfg.criterion)
        self.task.load_dataset("train")
        self.optimizer: Any = build_optimizer(cfg.optimizer, list(self.model.parameters()))

    def __call__(self) -> None:
        dataset = self.task.dataset("train")
        batch = dataset.collater([dataset[0], dataset[1]])
        self.task.train_step(batch, self.model, self.criterion, self.optimizer, 6)


@pytest.fixture(params=ARCHITECTURES)
def step(request: pytest.FixtureRequest, config: Config, tmp_path: Path) -> Step:
    return Step(config(*ARCHITECTURES[request.param], f"--save-dir={tmp_path}"))


def test_a_loss_that_is_nan_names_the_update_and_the_batch(step: Step) -> None:
    step()
    with torch.no_grad():
        step.model.decoder.layers[0].fc1.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match=names("7", "nan", "2", "0", "1")):
        step()
    step.optimizer.scaler = object()  # in half precision fairseq repeats such a step at another scale
    step()


def test_nothing_is_saved_of_a_model_that_is_not_finite(step: Step) -> None:
    step()
    assert step.task.get_checkpoint_dict().keys() == {"TranslationBnbTask"}
    with torch.no_grad():
        step.model.decoder.layers[0].fc1.bias[2] = torch.inf
    with pytest.raises(FloatingPointError, match=names("decoder.layers.0.fc1.bias", "finite", "7")):
        step.task.get_checkpoint_dict()


def test_a_gradient_that_is_nan_where_the_loss_is_not(step: Step) -> None:
    """fairseq makes the step again under its own search for the NaN, whose hooks end in a StopIteration."""
    from fairseq.nan_detector import NanDetector

    with (
        pytest.raises(FloatingPointError, match=names("7", "finite", "2", "0", "1")),
        NanDetector(step.model),
    ):
        step()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_check_loss(value: float) -> None:
    batch = {"id": torch.arange(7)}
    with pytest.raises(FloatingPointError, match=names("3", value, "7", "0", "1", "2", "3", "4")):
        check_loss(torch.tensor(value), batch, 3)
    check_loss(torch.tensor(3e38), batch, 3)


def test_check_parameters_names_the_first() -> None:
    last = nn.Linear(2, 2)
    model = nn.Sequential(nn.Linear(2, 2), last)
    check_parameters(model)
    nn.init.constant_(last.bias, torch.nan)
    with pytest.raises(FloatingPointError, match=names("1.bias", "finite")):
        check_parameters(model)
