"""A BERT's configuration, tensors and tokenizer, from a directory or HuggingFace's hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor

from ..checkpoints.archive import check_checksums
from ..checkpoints.files import UNREADABLE, require_file, why_not_read
from ..checkpoints.tensors import find_faults, find_size_faults
from ..checkpoints.trust import shown
from ..data.bert_files import fetch, find, read_json
from ..data.bert_tokenizer import load_wordpiece
from ..data.wordpiece import WordPiece
from ..models.config import SIZE_FIELDS, Sizes

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_SUFFIX = ".index.json"  # of the file that lists the shards of one of these
SHARD = re.compile(r"[\w-][\w.-]*\.(?:safetensors|bin)")  # a file name, no path
CONFIG_KEYS = dict(
    zip(
        SIZE_FIELDS,
        ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings"),
        strict=True,
    )
)
USUAL_EPSILON = 1e-12  # of BERT's LayerNorms
COUNTS = re.compile(r"(^|\.)(position_ids|token_type_ids)$")  # integer constants of old files
MOST_FAULTS = 5  # in one message
REQUIRED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


@dataclass(frozen=True)
class BertCheckpoint:
    """A BERT whose weights and tokenizer are read on first use.

    Attributes:
        origin: HuggingFace name or directory.
        option: the command-line option that named it, for messages.
        sizes: its sizes, keys ``SIZE_FIELDS``.
        layer_norm_eps: epsilon of its LayerNorms.
    """

    origin: str
    option: str
    sizes: Sizes
    layer_norm_eps: float

    @cached_property
    def tokenizer(self) -> WordPiece:
        """Its WordPiece tokenizer, whose ids are the rows of the embedding table."""
        return load_wordpiece(self.origin, strict=False)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their names in the file; a ValueError if no file holds tensors and nothing else."""
        try:
            for name in WEIGHT_FILES:
                if (path := find(self.origin, name)) is not None:
                    return _checked(read_tensors(path))
                if (index := find(self.origin, f"{name}{INDEX_SUFFIX}")) is not None:
                    return _checked(read_shards(self.origin, index))
        except ValueError as error:
            raise ValueError(f"{self.option} {self.origin}: {error}") from error
        raise ValueError(
            f"{self.option} {self.origin}: holds neither {' nor '.join(WEIGHT_FILES)}, nor an index of their shards"
        )

    def check_size(self) -> None:
        """Raise ValueError if the configured sizes need more than the file holds, before a model is built."""
        described = {f"encoder_{name}": size for name, size in self.sizes.items()}
        held = sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())
        if faults := find_size_faults(described, held):
            raise ValueError(f"{self.option} {self.origin}: {'; '.join(faults)}")


def _checked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose weights have no faults; a ValueError lists the faults."""
    weights = {name: tensor for name, tensor in tensors.items() if not COUNTS.search(name)}
    if faults := find_faults(weights):
        raise ValueError("; ".join(faults[:MOST_FAULTS]))
    return tensors


def open_bert(origin: str, option: str) -> BertCheckpoint:
    """Find a BERT and check its configuration; no weights are read yet.

    Raises ValueError if it cannot be found, is another kind of model, or lacks sizes.
    """
    try:
        config = read_json(fetch(origin, "config.json"))
    except ValueError as error:
        raise ValueError(f"{option} {error}") from error
    found = {key: config.get(key, value if key != "model_type" else None) for key, value in REQUIRED.items()}
    wrong = [
        f"{key} must be {value!r}, but is {found[key]!r}" for key, value in REQUIRED.items() if found[key] != value
    ]
    wrong += [_size_fault(key, config) for key in CONFIG_KEYS.values() if not _is_size(config.get(key))]
    epsilon = config.get("layer_norm_eps", USUAL_EPSILON)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        wrong.append(f"layer_norm_eps must lie between 0 and 1, but is {epsilon!r}")
    if wrong:
        raise ValueError(f"{option} {origin}: not a usable BERT: {'; '.join(wrong)}")
    return BertCheckpoint(origin, option, {name: config[key] for name, key in CONFIG_KEYS.items()}, epsilon)


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _size_fault(key: str, config: Mapping[str, object]) -> str:
    return (
        f"{key} must be an integer of at least 1, but is {shown(config[key])}" if key in config else f"{key} is missing"
    )


def read_shards(origin: str, index: Path) -> dict[str, Tensor]:
    """Tensors in the order of an index, JSON whose ``weight_map`` names the file of each tensor in the same directory.

    Raises ValueError if the index names a file elsewhere or a missing one, or a tensor that its file does not hold.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index}: must hold a weight_map that names the file of each tensor")
    shards: dict[str, dict[str, Tensor]] = {}
    for file in dict.fromkeys(places.values()):
        if not SHARD.fullmatch(file):
            raise ValueError(f"{index}: must name files of its own directory, but names {file!r}")
        shards[file] = read_tensors(fetch(origin, file))
    if missing := [name for name, file in places.items() if name not in shards[file]]:
        raise ValueError(f"{index}: {places[missing[0]]} does not hold {', '.join(missing)}")
    return {name: shards[file][name] for name, file in places.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` file, or from ``torch.save`` of a dictionary; no code in it can run.

    Raises ValueError, naming the file and what else it holds, or why it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_file(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if is_zipfile(path):
            check_checksums(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, *UNREADABLE) as error:
        raise ValueError(f"{path}: must be a file of tensors, but {why_not_read(error)}") from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise ValueError(f"{path}: must hold tensors by name, but holds a {type(loaded).__name__}")
    others = [f"{name} ({type(value).__name__})" for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"{path}: must hold nothing but tensors, but holds {', '.join(others)}")
    return dict(loaded)
