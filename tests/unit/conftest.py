"""Tiny BERTs as transformers writes them, models and batches to go with them, and scripts as modules."""

import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import BertSeq2SeqConfig, BnbTransformerConfig
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.start.bert_checkpoint import BertCheckpoint

from ..conftest import ROOT

# BERT's special symbols stand where BERT has them relative to each other, but not at its ids; "[unused0]" is no word.
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ORDINARY = ["the", "house", "##s", "##ing", "run", ".", ",", "##.", "a", "b", "##a", "##b", "c", "3", "##3", "ß"]
WORDS = SPECIAL + ORDINARY
SIZES = {"layers": 4, "embed_dim": 32, "ffn_embed_dim": 48, "attention_heads": 4, "positions": 24}
EPSILON = 0.01  # far from both BERT's 1e-12 and torch's 1e-5, so that a wrong epsilon shows


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Let no command that a test calls keep later tests from seeing what is logged."""
    loggers = [logging.getLogger(name) for name in ("bnb_fairseq", "fairseq", "sacrebleu")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def load_script() -> Iterator[Callable[..., ModuleType]]:
    """Load a script of a folder that is no package; scripts find each other there, as when Python runs one of them."""
    folders: list[str] = []

    def load(name: str, folder: str = "scripts") -> ModuleType:
        folders.append(str(ROOT / folder))
        sys.path.insert(0, folders[-1])
        spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for folder in folders:
        sys.path.remove(folder)


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> None:
    """Move every parameter away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = 0.3 * torch.randn(parameter.shape, generator=generator)
        scale = name.lower().endswith(("layernorm.weight", "layer_norm.weight"))
        parameter.copy_(1 + noise if scale else noise)


@pytest.fixture(scope="session")
def random_parameters() -> Callable[[nn.Module, int], None]:
    return randomise


@pytest.fixture(scope="session")
def write_bert() -> Callable[..., Path]:
    """Write a tiny BERT with ``save_pretrained``; ``old`` makes it look like a file of 2019."""

    def write(
        directory: Path,
        kind: str = "BertForMaskedLM",
        seed: int = 1,
        old: bool = False,
        words: list[str] = WORDS,
        **changes: int | float,
    ) -> Path:
        options = {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "intermediate_size": 48,
            "num_attention_heads": 4,
            "max_position_embeddings": 24,
            "layer_norm_eps": EPSILON,
            **changes,
        }
        model = getattr(transformers, kind)(transformers.BertConfig(vocab_size=len(words), **options))
        randomise(model, seed)
        model.save_pretrained(directory)
        (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        if old:
            (directory / "model.safetensors").unlink()
            tensors = {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
                for name, tensor in model.state_dict().items()
            }
            prefix = "" if kind == "BertModel" else "bert."
            tensors[f"{prefix}embeddings.position_ids"] = torch.arange(24).unsqueeze(0)
            torch.save(tensors, directory / "pytorch_model.bin")
        return directory

    return write


@pytest.fixture
def edit_bert() -> Callable[[Path, Callable[[dict[str, Tensor]], None]], None]:
    """Change the tensors in a BERT's file."""

    def edit(directory: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors")

    return edit


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """Change entries of a BERT's config.json; None removes one."""

    def edit(directory: Path, **changes: object) -> None:
        path = directory / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return edit


@pytest.fixture(scope="session")
def sizes_of() -> Callable[..., LayerSizes]:
    """Sizes of a module that is to hold a BERT; dropout is on, so that a module left in training mode shows."""

    def sizes(bert: BertCheckpoint, layers: int | None = None) -> LayerSizes:
        return LayerSizes(
            layers or bert.sizes["layers"],
            bert.sizes["embed_dim"],
            bert.sizes["ffn_embed_dim"],
            bert.sizes["attention_heads"],
            dropout=0.1,
            attention_dropout=0.1,
            layer_norm_eps=bert.layer_norm_eps,
        )

    return sizes


def plain_dictionary(words: int) -> BnbDictionary:
    """<s> 0, <pad> 1, </s> 2, <unk> 3, words from 4, <mask> last."""
    dictionary = BnbDictionary()
    for i in range(words):
        dictionary.add_symbol(f"w{i}")
    dictionary.add_mask()
    return dictionary


@pytest.fixture(scope="session")
def make_dictionary() -> Callable[[int], BnbDictionary]:
    return plain_dictionary


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Any]:
    """Options of a small random model, those of ``bnb_transformer`` unless another model's are asked for."""

    def make(kind: type[BertSeq2SeqConfig] = BnbTransformerConfig, **options: object) -> BertSeq2SeqConfig:
        sizes = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 24, "attention_heads": 2, "positions": 40}
        both = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sizes.items()}
        latent = {"latent_size": 8} if kind is BnbTransformerConfig else {}
        config = kind()
        for name, value in {**both, **latent, **options}.items():
            assert hasattr(config, name), name
            setattr(config, name, value)
        return config

    return make


@pytest.fixture(scope="session")
def small_task() -> SimpleNamespace:
    """What ``build_model`` needs of a task: dictionaries of 10 source and 12 target words."""
    return SimpleNamespace(source_dictionary=plain_dictionary(10), target_dictionary=plain_dictionary(12))


@pytest.fixture(scope="session")
def make_model(
    make_config: Callable[..., BnbTransformerConfig], small_task: SimpleNamespace
) -> Callable[..., BnbTransformer]:
    """Build a small model in eval mode, every parameter random."""

    def make(seed: int = 3, **options: object) -> BnbTransformer:
        model = BnbTransformer.build_model(make_config(**options), small_task)
        randomise(model, seed)
        return model.eval()

    return make
