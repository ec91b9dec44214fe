"""A small real corpus, a tiny random BERT for it, and a model trained on it for a minute."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import sentencepiece
import torch
from tokenizers import BertWordPieceTokenizer

Command = Callable[..., str]
SIZES = {"train": 3000, "valid": 100, "test": 300}
TRAIN = (
    *("--arch", "bnb_transformer", "--criterion", "bnb_loss", "--optimizer", "adam", "--clip-norm", "1"),
    *("--lr", "1e-3", "--lr-scheduler", "inverse_sqrt", "--warmup-updates", "50", "--batch-size", "64"),
    *("--data-buffer-size", "0", "--num-workers", "0", "--no-epoch-checkpoints", "--log-format", "simple"),
)


class Setting(NamedTuple):
    """Paths that the integration tests share."""

    text: Path
    bert: Path
    sentencepiece: Path
    data_bin: Path


def make_bert(
    folder: Path, text: Sequence[Path], symbols: int, width: int, layers: int = 4, positions: int = 160
) -> Path:
    """Write a random BERT with a vocabulary of its own."""
    from transformers import BertConfig, BertForPreTraining

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train([str(path) for path in text], vocab_size=symbols, min_frequency=2, show_progress=False)
    folder.mkdir()
    tokenizer.save_model(str(folder))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
    )
    BertForPreTraining(config).save_pretrained(folder)
    return folder


def with_noise(checkpoint: Path, part: str, scale: float) -> Path:
    """Add noise to a part of a model that was trained for a moment, to make its outputs differ."""
    state = torch.load(checkpoint)
    noise = torch.Generator().manual_seed(1)
    for name, parameter in state["model"].items():
        if part in name:
            parameter += scale * torch.randn(parameter.shape, generator=noise)
        if name.endswith("latent_scale"):
            parameter.fill_(1.0)  # beside so much noise the source would not count
    state["task_state"].pop("tensors", None)  # their digest; they are others now
    torch.save(state, checkpoint)
    return checkpoint


@pytest.fixture(scope="session")
def setting(
    tmp_path_factory: pytest.TempPathFactory,
    small_data: Callable[[str, int], list[tuple[str, str]]],
    write: Callable[[Path, Sequence[str]], Path],
    fairseq: Command,
) -> Setting:
    folder = tmp_path_factory.mktemp("setting")
    for part, pairs in SIZES.items():
        rows = small_data(part, pairs)
        write(folder / f"{part}.en", [source for source, _ in rows])
        write(folder / f"{part}.de", [target for _, target in rows])
    bert = make_bert(folder / "bert", [folder / "train.en"], symbols=1000, width=64)
    sentencepiece.SentencePieceTrainer.Train(
        input=str(folder / "train.de"), model_prefix=str(folder / "de"), vocab_size=800, minloglevel=2
    )
    data_bin = folder / "data-bin"
    prefixes = [x for part in SIZES for x in (f"--{part}pref", folder / part)]
    dictionaries = ["--srcdict", bert, "--tgtdict", folder / "de.model"]
    fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *dictionaries, "--destdir", data_bin, "--workers", 2)
    return Setting(folder, bert, folder / "de.model", data_bin)


@pytest.fixture(scope="session")
def checkpoint(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> Path:
    """A CTC model trained for a moment."""
    folder = tmp_path_factory.mktemp("checkpoint")
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 2, "--decoder-layers", 2, "--latent-size", 0]
    options += ["--max-update", 5]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--no-last-checkpoints", "--save-dir", folder)
    return with_noise(folder / "checkpoint_best.pt", "embeddings", 1.0)
