"""A data-bin folder of two sentences, and fairseq's own way from a command line to its configuration."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.data import indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import DictConfig
from torch import Tensor

from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

# Source, plain: <s> 0, <pad> 1, </s> 2, <unk> 3, the 4, cell 5, opens 6, <mask> 7. Target: ids by line.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "die", "zelle", "##n", "off", "##en", "."]
SOURCES = [[4, 5, 6, 2], [4, 2]]
TARGETS = [[5, 6, 7, 10, 3], [5, 3]]
SIZES = ("layers=1", "embed-dim=8", "ffn-embed-dim=8", "attention-heads=2")
TINY = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES]
NON_AUTOREGRESSIVE = ["--arch", "bnb_transformer", "--criterion", "bnb_loss", *TINY]
AUTOREGRESSIVE = ["--arch", "transformer", "--criterion", "label_smoothed_cross_entropy", *TINY]
BERT2BERT = [*AUTOREGRESSIVE, "--arch", "bert2bert"]


class Echo:
    """A generator that "translates" to given token ids."""

    def __init__(self, outputs: list[list[int]], histories: Sequence[list[dict[str, Tensor]]] = ()) -> None:
        self.outputs = outputs
        self.histories = histories or [[]] * len(outputs)
        self.calls = 0

    def generate(self, models: object, sample: object, **options: object) -> list[list[dict[str, Any]]]:
        self.calls += 1
        pairs = zip(self.outputs, self.histories, strict=True)
        return [[{"tokens": torch.tensor(output), "history": history}] for output, history in pairs]


def write_data_bin(folder: Path, targets: Sequence[Sequence[int]] = TARGETS) -> Path:
    (folder / "dict.en.txt").write_text("the 3\ncell 2\nopens 1\n")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    load_dictionary(str(folder / "vocab.txt")).save(str(folder / "dict.de.txt"))
    for language, items in (("en", SOURCES), ("de", targets)):
        for part in ("train", "valid", "test"):
            prefix = folder / f"{part}.en-de.{language}"
            builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=100)
            for item in items:
                builder.add_item(torch.tensor(item))
            builder.finalize(f"{prefix}.idx")
    return folder


@pytest.fixture(scope="session")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_bin(tmp_path_factory.mktemp("bin"))


@lru_cache
def configure(data: Path, *arguments: str) -> DictConfig:
    parser = options.get_training_parser()
    line = [str(data), "--task", "translation_bnb", "--optimizer", "adam", *arguments]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=line))


@pytest.fixture
def config(data_bin: Path) -> Callable[..., DictConfig]:
    """What fairseq-train makes of its arguments."""
    return lambda *arguments: deepcopy(configure(data_bin, *arguments))


@pytest.fixture
def make_task(config: Callable[..., DictConfig]) -> Callable[..., TranslationBnbTask]:
    return lambda *arguments: TranslationBnbTask.setup_task(config(*NON_AUTOREGRESSIVE, *arguments).task)
