"""All systems that can be compared, by family."""

from collections.abc import Callable, Iterator
from functools import partial

from .searches import ctc_search, several_lengths
from .systems import System, bert2bert, fairseq_nat, one_pass, one_pass_on_fairseq_layers, refinement, transformer
from .workload import Workload


def _ctranslate2(workload: Workload, precision: str, decoder_layers: int | None = None) -> Iterator[System]:
    from .ctranslate2_systems import ctranslate2_systems  # needs a package that may be missing

    return ctranslate2_systems(workload, precision, decoder_layers)


def _onnx(
    workload: Workload, kind: str, shortlist: bool = False, decoder_layers: int | None = None
) -> Iterator[System]:
    from .onnx_systems import onnx_systems  # needs packages that may be missing

    return onnx_systems(workload, kind, shortlist, decoder_layers)


# Each entry holds one model.
FAMILIES: dict[str, Callable[[Workload], Iterator[System]]] = {
    "bnb-ctc": partial(one_pass, length_control="ctc"),
    "bnb-length": partial(one_pass, length_control="length"),
    "bnb-refinement": refinement,
    "bnb-ctc-search": ctc_search,
    "bnb-lengths": several_lengths,
    "bnb-on-fairseq-layers": one_pass_on_fairseq_layers,
    "bert2bert": partial(bert2bert, name="bert2bert"),
    "bert2bert-shallow": partial(bert2bert, name="bert2bert, 1 decoder layer", decoder_layers=1),
    "bert2bert-on-fairseq-layers": partial(bert2bert, name="bert2bert, fairseq's layers", fast=False),
    "transformer": transformer,
    "nat": partial(fairseq_nat, architecture="nonautoregressive_transformer", refinements=0),
    "cmlm": partial(fairseq_nat, architecture="cmlm_transformer", refinements=4),
    "onnx-float32": partial(_onnx, kind="float32"),
    "onnx-int8": partial(_onnx, kind="int8"),
    "onnx-int8-shortlist": partial(_onnx, kind="int8", shortlist=True),
    "onnx-int8-shallow": partial(_onnx, kind="int8", decoder_layers=3),
    "ctranslate2-float32": partial(_ctranslate2, precision="float32"),
    "ctranslate2-int8": partial(_ctranslate2, precision="int8"),
    "ctranslate2-int8-shallow": partial(_ctranslate2, precision="int8", decoder_layers=1),
}
