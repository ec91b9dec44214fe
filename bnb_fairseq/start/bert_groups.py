"""Parameters that start from a BERT, and their places in it: marked by the model, read by the optimizer.

The marks are two attributes by which fairseq tells an optimizer of groups. fairseq's half-precision wrappers copy them
to the float32 parameters that they train.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from torch import nn

from ..models.freezing import check_frozen
from .bert_names import OUR_LAYER

GROUP, OVERRIDES = "param_group", "optim_overrides"  # fairseq's
ABOVE = "layers_above"


class BertGroup(NamedTuple):
    """A layer, the embeddings or the head of a side that starts from a BERT.

    Attributes:
        name: such as ``encoder.layers.3``; new parameters share the name ``new``.
        layers_above: layers between it and the head; None: the parameters are new.
    """

    name: str
    layers_above: int | None


NEW = BertGroup("new", None)


def finish_start(module: nn.Module, side: str, started: Sequence[str], fresh_rows: int) -> None:
    """Check that what is frozen on a side starts from a BERT, and mark that for the optimizer; see ``check_frozen``."""
    check_frozen(module, side, started, fresh_rows)
    mark_parameters(module, side, started)


def mark_parameters(module: nn.Module, side: str, started: Collection[str]) -> None:
    """Mark the parameters of one side that start from a BERT with their places.

    Args:
        module: ``BertEncoder`` or a ``BertDecoder``, with its layers in ``layers``.
        side: ``encoder`` or ``decoder``.
        started: names of those parameters.
    """
    layers = len(module.get_submodule("layers"))  # type: ignore[arg-type]
    for name, parameter in module.named_parameters():
        if name not in started:
            continue
        layer = OUR_LAYER.fullmatch(name)
        above = layers - 1 - int(layer[1]) if layer else layers if name.startswith("embeddings.") else 0
        place = f"layers.{layer[1]}" if layer else name.partition(".")[0]
        setattr(parameter, GROUP, f"{side}.{place}")
        setattr(parameter, OVERRIDES, {ABOVE: above})


def group_parameters(parameters: Iterable[nn.Parameter]) -> dict[BertGroup, list[nn.Parameter]]:
    """Group parameters by their marks, new ones first.

    The order depends on the model alone, never on rates, so that an optimizer's saved state finds its parameters again.
    """
    groups: dict[BertGroup, list[nn.Parameter]] = {NEW: []}
    for parameter in parameters:
        above = (getattr(parameter, OVERRIDES, None) or {}).get(ABOVE)
        group = NEW if above is None else BertGroup(getattr(parameter, GROUP), above)
        groups.setdefault(group, []).append(parameter)
    return {group: members for group, members in groups.items() if members}
