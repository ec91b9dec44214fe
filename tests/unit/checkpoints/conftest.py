"""A checkpoint as fairseq-train writes it, of a small random model, beside its dictionaries."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from bnb_fairseq.checkpoints.reader import DIGEST
from bnb_fairseq.checkpoints.tensors import tensor_digest
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ..checkpoint_files import save_checkpoint
from ..tasks.conftest import NON_AUTOREGRESSIVE, configure, write_data_bin


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, random_parameters: Callable[[nn.Module, int], None]) -> Path:
    folder = write_data_bin(tmp_path_factory.mktemp("good"))
    cfg = configure(folder, *NON_AUTOREGRESSIVE)
    task = TranslationBnbTask.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    random_parameters(model, 16)
    path = save_checkpoint(folder / "good.pt", cfg, task, model)
    assert task.state_dict()[DIGEST] == tensor_digest(model.state_dict())
    return path
