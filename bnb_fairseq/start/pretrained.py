"""Starting a model from a checkpoint of this package, even with other dictionaries: ``--pretrained-checkpoint``."""

import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.reader import read_state
from ..data.dictionary import BnbDictionary
from ..data.digest import DIFFERENCES, DictionaryDigest
from ..models.config import BERT_BASE, SIZE_FIELDS, BertSeq2SeqConfig, Sizes, complete_sizes
from .bert_groups import finish_start
from .bert_import import ROW_NAMES, ImportReport
from .row_matching import SymbolTable, match_rows

OPTION = "--pretrained-checkpoint"
SIDES = {"encoder": "source", "decoder": "target"}  # part of the model -> whose dictionary it has
PER_SYMBOL = (*ROW_NAMES, "head.weight")  # tensors with one row a symbol
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainedCheckpoint:
    """A checkpoint that another model may start from.

    Attributes:
        origin: its file.
        options: the options of its model.
        tensors: its parameters by name.
        dictionaries: of each side (``source``, ``target``): ``size`` and ``sha256``.
        symbols: of each side: the meaning of the rows, see ``row_matching.symbol_state``; empty in old checkpoints.
    """

    origin: str
    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    dictionaries: Mapping[str, Mapping[str, Any]]
    symbols: Mapping[str, Mapping[str, Any]]

    def sizes(self, side: str) -> Sizes:
        """Sizes of ``encoder`` or ``decoder``, keys ``SIZE_FIELDS``; those left open are bert-base's."""
        return {name: int(self.options[f"{side}_{name}"] or BERT_BASE[name]) for name in SIZE_FIELDS}

    def rows(self, side: str, dictionary: BnbDictionary) -> Tensor:
        """Embedding row of each of a dictionary's V symbols, V int64, -1 for symbols that the checkpoint lacks.

        Raises ValueError if the dictionaries differ and the checkpoint did not save its symbols.
        """
        whose = SIDES[side]
        mine, trained = dictionary.digest(), DictionaryDigest.of_state(self.dictionaries[whose])
        if differences := mine.differences(trained):
            logger.info("%s: its %s dictionary is %s, the data's is %s", self.origin, whose, trained, mine)
        if "tokenizer" in differences and "symbols" not in differences:
            logger.warning(
                "%s: the same %s symbols, but %s: it was trained on text split in another way",
                *(self.origin, whose, DIFFERENCES["tokenizer"]),
            )
        if "symbols" not in differences:
            return torch.arange(len(dictionary))
        if whose not in self.symbols:
            raise ValueError(
                f"{OPTION} {self.origin} must hold the symbols of its {whose} dictionary, because the data's differs, "
                f"but an old version wrote it without them"
            )
        return match_rows(dictionary, SymbolTable.of_state(self.symbols[whose]))


def open_pretrained(path: str) -> PretrainedCheckpoint:
    """Read a checkpoint of ``bnb_transformer`` or ``bert2bert``.

    Raises ValueError if there is no such file, or it is no checkpoint of such a model.
    """
    try:
        state = read_state(Path(path))
    except ValueError as error:
        raise ValueError(f"{OPTION} {error}") from error
    model = state["cfg"]["model"]
    options = vars(model) if isinstance(model, Namespace) else dict(model)
    task_state = state.get("task_state") or {}
    sized = all(f"{side}_{name}" in options for side in SIDES for name in SIZE_FIELDS)
    if not sized or "dictionaries" not in task_state:
        raise ValueError(
            f"{OPTION} {path}: its --arch must be bnb_transformer or bert2bert, but is {options.get('_name')}"
        )
    return PretrainedCheckpoint(
        path, options, state["model"], task_state["dictionaries"], task_state.get("symbols", {})
    )


def resolve_pretrained(cfg: BertSeq2SeqConfig, sides: Sequence[str] = tuple(SIDES)) -> PretrainedCheckpoint | None:
    """Open the checkpoint that the options name and complete the options with its sizes.

    Args:
        cfg: the options.
        sides: the sides that the model has.

    Returns:
        The checkpoint, or None if the options name none.

    Raises:
        ValueError: if it cannot be used, or listing every size that contradicts the options.
    """
    if cfg.pretrained_checkpoint is None:
        return None
    if cfg.bert_encoder is not None or cfg.bert_decoder is not None:
        given = cfg.bert_encoder if cfg.bert_encoder is not None else cfg.bert_decoder
        raise ValueError(f"{OPTION} replaces --bert-encoder and --bert-decoder, but they name {given}")
    pretrained = open_pretrained(cfg.pretrained_checkpoint)
    problems = []
    for side in sides:
        sizes = pretrained.sizes(side)
        for name, has in sizes.items():
            wanted = getattr(cfg, f"{side}_{name}", None)
            if wanted not in (None, has):
                problems.append(f"--{side}-{name.replace('_', '-')} must be {has}, but is {wanted}")
        complete_sizes(cfg, side, sizes)
    if problems:
        raise ValueError(f"{OPTION} {pretrained.origin}: {'; '.join(problems)}")
    cfg.layer_norm_eps = float(pretrained.options["layer_norm_eps"])
    return pretrained


def load_pretrained(model: nn.Module, pretrained: PretrainedCheckpoint) -> ImportReport:
    """Copy a checkpoint's weights into a new model, embedding rows by the text of their symbols.

    Parameters that the checkpoint lacks keep their random start; tensors that the model lacks are ignored; the log
    lists both. The optimizer treats copied parameters like those of a BERT.

    Args:
        model: has an ``encoder``, a ``decoder`` or both, built with the sizes that ``resolve_pretrained`` set.
        pretrained: the checkpoint.

    Returns:
        The tensors used and ignored, and the new parameters.

    Raises:
        ValueError: listing every tensor of another shape and every missing part of a BERT; or if ``--freeze`` names
            parameters that the checkpoint lacks.
    """
    parameters = dict(model.named_parameters())
    modules = {side: getattr(model, side) for side in SIDES if hasattr(model, side)}
    rows = {side: pretrained.rows(side, module.dictionary) for side, module in modules.items()}
    report = ImportReport(f"model from {pretrained.origin}", symbols=sum(map(len, rows.values())))
    report.matched = sum(int((found >= 0).sum()) for found in rows.values())
    problems = []
    for name, parameter in parameters.items():
        if name not in pretrained.tensors:
            report.new.append(name)
            if name.partition(".")[2].startswith(("embeddings.", "layers.")):
                problems.append(f"nothing for {name}")
            continue
        report.used.append((name, name))
        start = int(name.partition(".")[2] in PER_SYMBOL)  # the number of rows may differ
        if parameter.shape[start:] != pretrained.tensors[name].shape[start:]:
            shapes = f"{tuple(pretrained.tensors[name].shape)}, but must have {tuple(parameter.shape)}"
            problems.append(f"{name} has shape {shapes}")
    report.ignored = [(name, "this model lacks it") for name in pretrained.tensors if name not in parameters]
    if problems:
        raise ValueError(f"{OPTION} {pretrained.origin} cannot start this model: {'; '.join(problems)}")
    for name, _ in report.used:
        side, _, own_name = name.partition(".")
        if own_name in PER_SYMBOL:
            _copy_rows(parameters[name], pretrained.tensors[name], rows[side], _symbols(pretrained, side))
        else:
            _copy(parameters[name], pretrained.tensors[name])
    report.log()
    for side, module in modules.items():
        prefix = f"{side}."
        started = [name.removeprefix(prefix) for name, _ in report.used if name.startswith(prefix)]
        finish_start(module, side, started, int((rows[side] < 0).sum()))
    return report


def _symbols(pretrained: PretrainedCheckpoint, side: str) -> int:
    return int(pretrained.dictionaries[SIDES[side]]["size"])


@torch.no_grad()
def _copy(parameter: nn.Parameter, tensor: Tensor) -> None:
    parameter.copy_(tensor)


@torch.no_grad()
def _copy_rows(parameter: nn.Parameter, tensor: Tensor, rows: Tensor, symbols: int) -> None:
    """Copy the rows of known symbols, and those after the dictionary's (the CTC blank) if both models have them."""
    known = rows >= 0
    parameter[: len(rows)][known] = tensor[rows[known]].to(parameter)
    if len(parameter) - len(rows) == len(tensor) - symbols:
        parameter[len(rows) :] = tensor[symbols:].to(parameter)
