"""From the weights of a model to its graph's file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..network.options import NetworkOptions, SymbolTable
from .facts import CANDIDATES, Facts
from .static_network import StaticNetwork

FLOAT32, INT8 = "float32", "int8"
INPUTS, SYMBOLS = ("src_tokens", "src_lengths", "asked"), "k"
OUTPUTS = ("symbols", "scores", "blank_scores", "lengths", "asked_scores")
# Sentences, tokens and asked symbols of the batch that torch traces; any other batch runs the same graph.
TRACED = (3, 5, 2)
OPSET = 21  # the first whose QuantizeLinear has a scale for each row


def write_graph(
    path: Path,
    options: NetworkOptions,
    source: SymbolTable,
    target: SymbolTable,
    weights: Mapping[str, Tensor],
    longest: int,
    kind: str,
    shortlist: bool = False,
) -> None:
    """Write the graph of a model.

    Inputs: ``src_tokens`` (B x S, int64, right-padded), ``src_lengths`` (B, int64), ``asked`` (B x n, int64, n at least
    1) and ``k`` (1, int64), the number of symbols to return for each canvas position. Outputs: those of
    ``StaticNetwork``. With a shortlist ``candidates`` (C, int64) is an input, too.

    Args:
        path: file to write.
        options: of the network.
        source: the source vocabulary.
        target: the target vocabulary.
        weights: of a ``bnb_transformer``, by their names in its checkpoint.
        longest: the longest source, in tokens.
        kind: ``float32`` or ``int8``.
        shortlist: the graph scores only the symbols that it is given.

    Raises:
        ImportError: if a package of the extra ``onnx-export`` is missing.
    """
    _require_packages()
    import onnx

    floats = {name: each.float() for name, each in weights.items()}
    network = StaticNetwork(options, source, target, floats).eval()
    graph = _trace(network, shortlist)
    facts = Facts(longest, len(network.output_bias), network.blank, network.uses_ctc)
    onnx.helper.set_model_props(graph, facts.write())
    if kind == INT8:
        from .int8 import write_int8

        with _quiet():
            write_int8(graph, path)
    else:
        onnx.save(graph, path)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"--onnx needs {error.name}: pip install 'bnb_fairseq[onnx-export]'") from error


def _trace(network: StaticNetwork, shortlist: bool) -> Any:
    """Trace the graph with torch, and make the number of symbols an input."""
    sentences, tokens, symbols = TRACED
    free = torch.export.Dim.DYNAMIC
    ids = torch.full((sentences, tokens), network.separator)
    given = [ids, torch.full((sentences,), tokens), torch.zeros(sentences, symbols, dtype=torch.long)]
    names, shapes = list(INPUTS), [{0: free, 1: free}, {0: free}, {0: free, 1: free}]
    if shortlist:
        given.append(torch.tensor([network.blank, *(i for i in range(tokens) if i != network.blank)]))
        names, shapes = [*names, CANDIDATES], [*shapes, {0: free}]
    with _quiet():
        program = torch.onnx.export(
            network,
            tuple(given),
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=OUTPUTS,
            dynamic_shapes=tuple(shapes),
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    (choice,) = (node for node in graph.graph.node if node.op_type == "TopK")
    choice.input[1] = SYMBOLS
    number = graph.graph.input.add()
    number.name = SYMBOLS
    number.type.tensor_type.elem_type = graph.graph.input[1].type.tensor_type.elem_type
    number.type.tensor_type.shape.dim.add().dim_value = 1
    for output in graph.graph.output[:2]:
        output.type.tensor_type.shape.dim[2].dim_param = SYMBOLS
    for node in graph.graph.node:  # the source line of each node
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the libraries' messages about packages that are not needed here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
