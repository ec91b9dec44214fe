"""Importing BERT: every tensor is used or ignored for a stated reason, every parameter is loaded or listed as new.

Nothing is copied before all names and shapes have been checked; one error lists every misfit.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .bert_checkpoint import BertCheckpoint
from .bert_names import CROSS_ATTENTION_NAMES, LAYER, our_name

IGNORED = {  # BERT's name, a regular expression -> the reason
    r"pooler\..*": "the sentence vector is not used",
    r"cls\.seq_relationship\..*": "next-sentence prediction is not used",
    r"embeddings\.position_ids": "a constant: 0, 1, 2, ...",
    r"cls\.predictions\.decoder\.weight": "the output layer is tied to the token embeddings",
    r"cls\.predictions\.decoder\.bias": "the same as cls.predictions.bias",
}
ROW_NAMES = ("embeddings.tokens.weight", "head.bias")  # one row a symbol: matched by the symbols' text
logger = logging.getLogger(__name__)


@dataclass
class ImportReport:
    """The use of every tensor of the BERT and the source of every parameter of the module.

    Attributes:
        title: side and BERT.
        used: BERT's name and ours.
        ignored: BERT's name and the reason.
        new: our parameters that BERT does not have.
        matched: dictionary symbols whose embedding row came from BERT.
        symbols: symbols in the dictionary.
    """

    title: str
    used: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    matched: int = 0
    symbols: int = 0

    def summary(self) -> str:
        """One line for the log."""
        share = 100 * self.matched / max(self.symbols, 1)
        return (
            f"{self.title}: {len(self.used)} tensors used, {len(self.ignored)} ignored, {len(self.new)} parameters new;"
            f" embedding rows: {self.matched:,} of {self.symbols:,} ({share:.1f}%) matched by text, "
            f"{self.symbols - self.matched:,} ({100 - share:.1f}%) start fresh"
        )

    def lines(self) -> list[str]:
        """One line for every tensor and parameter."""
        return [
            *(f"used     {name} -> {ours}" for name, ours in self.used),
            *(f"ignored  {name} ({reason})" for name, reason in self.ignored),
            *(f"new      {name}" for name in self.new),
        ]

    def log(self, side: str = "") -> None:
        """Log the summary, and for debugging each line, with the side in front."""
        logger.info(self.summary())
        for line in self.lines():
            logger.debug("%s%s", f"{side} " * bool(side), line)


def select_layers(available: int, wanted: int) -> list[int]:
    """Numbers of evenly spaced layers, ascending; the first and, from two on, the last are among them."""
    if wanted == 1:
        return [0]
    return [i * (available - 1) // (wanted - 1) for i in range(wanted)]


def translate_name(name: str, layers: Sequence[int], with_head: bool) -> tuple[str | None, str]:
    """Translate one of BERT's names.

    Args:
        name: in the file.
        layers: numbers of the layers taken.
        with_head: whether the module has the masked-word head.

    Returns:
        Our name and "", or None and the reason for ignoring the tensor; None and "" for an unknown name.
    """
    bare = name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias")
    for pattern, reason in IGNORED.items():
        if re.fullmatch(pattern, bare):
            return None, reason
    if match := LAYER.fullmatch(bare):
        if int(match[1]) not in layers:
            return None, "its layer was not selected"
        if match[2] in CROSS_ATTENTION_NAMES:  # what is imported is a BERT, not the decoder of another model
            return None, ""
        bare = f"encoder.layer.{layers.index(int(match[1]))}.{match[2]}"
    ours = our_name(bare)
    if ours is not None and ours.startswith("head.") and not with_head:
        return None, "an encoder has no masked-word head"
    return ours, ""


def import_bert(module: nn.Module, bert: BertCheckpoint, layers: int, rows: Tensor, side: str) -> ImportReport:
    """Copy a BERT's weights into an encoder or decoder.

    Args:
        module: ``BertEncoder`` or a ``BertDecoder``; unchanged if anything does not fit.
        bert: the BERT.
        layers: number of layers of ``module``.
        rows: for each symbol of the module's token table, BERT's row, or -1 for a symbol that starts fresh.
        side: ``encoder`` or ``decoder``, for the report.

    Returns:
        The tensors used and ignored, and the new parameters.

    Raises:
        ValueError: listing every tensor that is unknown, missing or of the wrong shape.
    """
    parameters = dict(module.named_parameters())
    with_head = "head.bias" in parameters
    selected = select_layers(bert.sizes["layers"], layers)
    report = ImportReport(f"{side} from {bert.origin}, layers {selected}", symbols=len(rows))
    loaded: dict[str, Tensor] = {}
    problems = []
    for name, tensor in bert.tensors.items():
        ours, reason = translate_name(name, selected, with_head)
        if ours is not None and ours in loaded:
            problems.append(f"{name} is a second tensor for {ours}")
        elif ours is not None and ours in parameters:
            report.used.append((name, ours))
            loaded[ours] = tensor
            shape = tensor.shape[1:] if ours in ROW_NAMES else tensor.shape
            expected = parameters[ours].shape[1:] if ours in ROW_NAMES else parameters[ours].shape
            if shape != expected:
                problems.append(f"{name} has shape {tuple(tensor.shape)}, {ours} {tuple(parameters[ours].shape)}")
            elif ours in ROW_NAMES and len(rows) and int(rows.max()) >= len(tensor):
                problems.append(f"{name} has {len(tensor)} rows, the vocabulary {int(rows.max()) + 1} symbols")
        elif reason:
            report.ignored.append((name, reason))
        else:
            problems.append(f"{name} is an unknown BERT tensor")
    report.new = [name for name in parameters if name not in loaded]
    needed = [name for name in report.new if name.startswith("embeddings.") or _is_bert_layer(name)]
    problems += [f"nothing for {name}" for name in needed]
    if problems:
        raise ValueError(f"{bert.option} {bert.origin}: the {side} cannot be imported: {'; '.join(problems)}")
    report.matched = int((rows >= 0).sum())
    _copy(parameters, loaded, rows)
    return report


def _is_bert_layer(name: str) -> bool:
    return name.startswith("layers.") and ".encoder_attn" not in name


@torch.no_grad()
def _copy(parameters: dict[str, nn.Parameter], loaded: dict[str, Tensor], rows: Tensor) -> None:
    known = rows >= 0
    for name, tensor in loaded.items():
        if name in ROW_NAMES:
            parameters[name][: len(rows)][known] = tensor[rows[known]].to(parameters[name])
        else:
            parameters[name].copy_(tensor)


@torch.no_grad()
def start_cross_attention_from_self_attention(layers: nn.ModuleList) -> None:
    """Copy each decoder layer's self-attention and its LayerNorm into its cross-attention, which must be as wide."""
    for layer in layers:
        layer.encoder_attn.load_state_dict(layer.self_attn.state_dict())  # type: ignore[union-attr]
        layer.encoder_attn_layer_norm.load_state_dict(layer.self_attn_layer_norm.state_dict())  # type: ignore[union-attr]
