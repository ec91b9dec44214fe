"""Seed checkpoints, those of the published BERT-NAR-BERT code: their tensors as ours, and back.

The model to fill determines the expected tensors; one error lists every misfit. Some tensors have no place in the
model: BERT's pooler, the log-variance rows of a deterministic latent, and those that repeat or count others. The first
two are kept beside the model's, so that converting back restores every bit; decoding does not read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..start.bert_checkpoint import WEIGHT_FILES, read_tensors
from ..start.bert_names import bert_name
from .seed_config import SeedConfig, read_seed_config

WEIGHTS = "pytorch_model.bin"
PARTS = ("weight", "bias")
POOLER = "encoder.pooler.dense"
LATENT = "encoder.linear"  # rows 0 to Z - 1: the mean, Z to 2 Z - 1: the log-variance
MEAN, LOG_VARIANCE = "latent.projection", "latent.log_variance"  # ours
TIED = {  # seed's name -> the seed's name of what it must equal
    "decoder.cls.predictions.decoder.weight": "decoder.bert.embeddings.word_embeddings.weight",
    "decoder.cls.predictions.decoder.bias": "decoder.cls.predictions.bias",
}
POSITION_IDS = {  # seed's name -> ours of the table whose rows it counts
    "encoder.embeddings.position_ids": "encoder.embeddings.positions.weight",
    "decoder.bert.embeddings.position_ids": "decoder.embeddings.positions.weight",
}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class SeedCheckpoint:
    """A seed checkpoint in ``directory``, with its checked configuration; tensors are read on first use."""

    directory: Path
    config: SeedConfig

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors by their names in the file; a ValueError if no file holds tensors and nothing else."""
        for name in WEIGHT_FILES:
            if (self.directory / name).is_file():
                return read_tensors(self.directory / name)
        raise ValueError(f"{self.directory}: holds neither {' nor '.join(WEIGHT_FILES)}")


@dataclass(frozen=True)
class Keepsake:
    """The parts of a seed checkpoint that the model has no place for, so that converting back restores every bit.

    Attributes:
        config: the seed's configuration.
        names: names of the seed's tensors, in its order.
        tensors: the seed's values that have no place in the model; halves of ``encoder.linear`` by our names.
    """

    config: SeedConfig
    names: list[str] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """The entry ``seed`` of a fairseq checkpoint: plain dictionaries, lists and tensors."""
        return {"config": self.config, "names": self.names, "tensors": self.tensors}


def open_seed(directory: Path) -> SeedCheckpoint:
    """Check a seed checkpoint's configuration (ValueError); no tensors are read yet."""
    return SeedCheckpoint(directory, read_seed_config(directory))


def seed_name(name: str) -> str:
    """The seed's name of a parameter of ``bnb_transformer``; both halves of the latent's projection have the same.

    Raises ValueError if a seed checkpoint has no such tensor.
    """
    module, _, part = name.rpartition(".")
    if module in (MEAN, LOG_VARIANCE):
        return f"{LATENT}.{part}"
    if module == "decoder.latent_projection":
        return f"decoder.linear.{part}"
    side, _, rest = name.partition(".")
    theirs = bert_name(rest) if side in ("encoder", "decoder") else None
    if theirs is None:
        raise ValueError(f"{name}: a seed checkpoint has no tensor for it")
    if side == "encoder" or theirs.startswith("cls."):
        return f"{side}.{theirs}"
    return f"decoder.bert.{theirs}"


def expected_shapes(state: Tensors) -> dict[str, tuple[int, ...]]:
    """Shapes, by the seed's names, of every tensor that a seed checkpoint of a model with these parameters may hold."""
    shapes = {}
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        theirs = seed_name(name)
        shapes[theirs] = (2 * shape[0], *shape[1:]) if theirs.startswith(f"{LATENT}.") else shape
    width = state["encoder.embeddings.tokens.weight"].size(1)
    shapes |= {f"{POOLER}.weight": (width, width), f"{POOLER}.bias": (width,)}
    shapes |= {name: shapes[other] for name, other in TIED.items()}
    return shapes | {name: (1, len(state[table])) for name, table in POSITION_IDS.items()}


def from_seed(seed: SeedCheckpoint, template: Tensors) -> tuple[dict[str, Tensor], Keepsake]:
    """Turn a seed checkpoint's tensors into the parameters of a model.

    Args:
        seed: the checkpoint.
        template: parameters of the model to fill, of which names and shapes count.

    Returns:
        Our parameters by name, of the seed's types; and the rest.

    Raises:
        ValueError: listing every tensor that is missing, unknown, of a wrong shape or type, or not equal to the one
            that it must repeat.
    """
    tensors = seed.tensors
    if problems := _misfits(tensors, expected_shapes(template)):
        raise ValueError(f"{seed.directory}: its tensors do not fit its config.json: {'; '.join(problems)}")
    halves: dict[str, Tensor] = {}
    for part in PARTS:
        mean, log_variance = tensors[f"{LATENT}.{part}"].chunk(2)
        halves |= {f"{MEAN}.{part}": mean.clone(), f"{LOG_VARIANCE}.{part}": log_variance.clone()}
    state = {name: halves.pop(name) if name in halves else tensors[seed_name(name)] for name in template}
    kept = {**halves, **{f"{POOLER}.{part}": tensors[f"{POOLER}.{part}"] for part in PARTS}}
    return state, Keepsake(seed.config, list(tensors), kept)


def _misfits(tensors: Tensors, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    optional = {*TIED, *POSITION_IDS}  # newer versions of transformers leave them out
    problems = [f"{name} is missing" for name in expected if name not in tensors and name not in optional]
    problems += [f"{name} is an unknown tensor" for name in tensors if name not in expected]
    for name, shape in expected.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, but must have {shape}")
        elif name in POSITION_IDS:
            if tensor.dtype != torch.int64 or not torch.equal(tensor, position_ids(shape[1])):
                problems.append(f"{name} must hold 0 to {shape[1] - 1} as int64")
        elif not tensor.is_floating_point():
            problems.append(f"{name} must hold floating point numbers, but holds {tensor.dtype}")
        elif name in TIED and not _same(tensor, tensors.get(TIED[name])):
            problems.append(f"{name} must equal {TIED[name]}, to which it is tied")
    return problems


def _same(a: Tensor, b: Tensor | None) -> bool:
    """Whether tied tensors are equal; True if the other is missing or misshapen, which is reported elsewhere."""
    return b is None or a.shape != b.shape or (a.dtype == b.dtype and torch.equal(a, b))


def position_ids(positions: int) -> Tensor:
    """Positions in BERT's files: 0, 1, 2, ..., 1 x P, int64."""
    return torch.arange(positions).unsqueeze(0)


def to_seed(state: Tensors, keepsake: Keepsake) -> dict[str, Tensor]:
    """Turn the parameters of a model into a seed checkpoint's tensors.

    Args:
        state: our parameters by name.
        keepsake: from ``from_seed``, or an empty one for a model that was trained here.

    Returns:
        The tensors; with a full keepsake exactly those that ``from_seed`` read, in the same order. Zeros stand for a
        pooler or a log-variance that is in neither.
    """
    shapes = expected_shapes(state)
    like = state["encoder.embeddings.tokens.weight"]
    source = {**state, **keepsake.tensors}
    tensors: dict[str, Tensor] = {seed_name(name): tensor for name, tensor in state.items()}
    for part in PARTS:
        mean = state[f"{MEAN}.{part}"]
        log_variance = source.get(f"{LOG_VARIANCE}.{part}", torch.zeros_like(mean))
        tensors[f"{LATENT}.{part}"] = torch.cat([mean, log_variance])
        pooler = f"{POOLER}.{part}"
        tensors[pooler] = source.get(pooler, like.new_zeros(shapes[pooler]))
    tensors |= {name: tensors[other] for name, other in TIED.items()}
    tensors |= {name: position_ids(shapes[name][1]) for name in POSITION_IDS}
    return {name: tensors[name] for name in keepsake.names or tensors}
