"""Checkpoints of small random models, and the data-bin folder that they belong to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bnb_fairseq.hub.interface import BnbHubInterface
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ..checkpoint_files import save_checkpoint
from ..tasks.conftest import BERT2BERT, NON_AUTOREGRESSIVE, configure, write_data_bin

# 24 positions of the canvas, 2 for each token of the source: at most 12 tokens with [CLS] and [SEP].
POSITIONS = [f"--{side}-positions=24" for side in ("encoder", "decoder")]
MODELS = {
    "ctc": [*NON_AUTOREGRESSIVE, *POSITIONS],
    "refining": [*NON_AUTOREGRESSIVE, *POSITIONS, "--length-control", "length", "--canvas-tokens"],
    "autoregressive": [*BERT2BERT, *POSITIONS],
    "sticky": [*NON_AUTOREGRESSIVE, *POSITIONS, "--truncate-source", "--max-source-positions=5", "--ctc-beam=2"],
}
SENTENCES = ["the cell opens the cell", "cell", "opens the cell", "the the", "cell opens opens cell the the"]
LIMIT = 12

Load = Callable[..., BnbHubInterface]


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, random_parameters: Callable[[nn.Module, int], None]
) -> dict[str, Path]:
    """Paths by name; all lie in the data-bin folder."""
    folder = write_data_bin(tmp_path_factory.mktemp("trained"))
    paths = {}
    for name, arguments in MODELS.items():
        cfg = configure(folder, "--batch-size=64", *arguments)
        task = TranslationBnbTask.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        random_parameters(model, 16)
        if name in ("ctc", "sticky"):
            model.decoder.head.bias.data[[0, 1, 2, 3, 4, model.control.blank]] -= 4  # words rather than special symbols
        cfg.generation.iter_decode_max_iter = 10  # as a training by fairseq-hydra-train has it
        paths[name] = save_checkpoint(folder / f"{name}.pt", cfg, task, model)
    return paths


@pytest.fixture(scope="session")
def load(trained: dict[str, Path]) -> Load:
    return lambda name, **options: BnbTransformer.from_pretrained(trained[name], **options)


@pytest.fixture(scope="session")
def ctc(load: Load) -> BnbHubInterface:
    return load("ctc")


@pytest.fixture(scope="session")
def autoregressive(load: Load) -> BnbHubInterface:
    return load("autoregressive", max_len_b=8)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[BnbHubInterface], list[list[int]]]:
    """Note the sentences of each batch that is translated from now on."""

    def record(hub: BnbHubInterface) -> list[list[int]]:
        found: list[list[int]] = []
        step = hub.task.inference_step

        def noted(generator: Any, models: Any, sample: dict[str, Any], **options: Any) -> Any:
            found.append(sample["id"].tolist())
            return step(generator, models, sample, **options)

        monkeypatch.setattr(hub.task, "inference_step", noted)
        return found

    return record
