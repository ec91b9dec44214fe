"""From the weights of a model to its graphs' files."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..folder.manifest import DECODERS
from ..network.options import NetworkOptions, SymbolTable
from .facts import ASKED, CANDIDATES, CANVAS_TOKENS, DECODED, ENCODED, LENGTHS, OUTPUTS, SOURCE, SYMBOLS, Facts
from .static_network import Decoding, Encoding, StaticNetwork

FLOAT32, INT8 = "float32", "int8"
# Sentences, tokens and asked symbols of the batch that torch traces; any other batch runs the same graph.
TRACED = (3, 5, 2)
OPSET = 21  # the first whose QuantizeLinear has a scale for each row


def write_graph(
    folder: Path,
    options: NetworkOptions,
    source: SymbolTable,
    target: SymbolTable,
    weights: Mapping[str, Tensor],
    longest: int,
    kind: str,
    shortlist: bool = False,
) -> Path:
    """Write the graph of a model; of one that refines its encoder, and its decoder, which each pass runs.

    Inputs: ``src_tokens`` (B x S, int64, right-padded), ``src_lengths`` (B, int64), ``asked`` (B x n, int64, n at least
    1) and ``k`` (1, int64), the number of symbols to return for each canvas position. Outputs: those of
    ``StaticNetwork``. With a shortlist ``candidates`` (C, int64) is an input, too. Of two graphs, the encoder has the
    first two inputs, and its outputs are inputs of the decoder, beside ``canvas_tokens`` (B x A, int64) and the others.

    Args:
        folder: where the files are written, named as in a model folder.
        options: of the network.
        source: the source vocabulary.
        target: the target vocabulary.
        weights: of a ``bnb_transformer``, by their names in its checkpoint.
        longest: the longest source, in tokens.
        kind: ``float32`` or ``int8``.
        shortlist: the graph scores only the symbols that it is given.

    Returns:
        The file of the graph, or of the encoder.

    Raises:
        ImportError: if a package of the extra ``onnx-export`` is missing.
    """
    _require_packages()
    floats = {name: each.float() for name, each in weights.items()}
    network = StaticNetwork(options, source, target, floats).eval()
    facts = Facts(longest, len(network.output_bias), network.blank, network.uses_ctc)
    sentences, tokens, symbols = TRACED
    ids = torch.full((sentences, tokens), network.separator)
    read = dict(zip(SOURCE, (ids, torch.full((sentences,), tokens)), strict=True))
    more = {ASKED: torch.zeros(sentences, symbols, dtype=torch.long)}
    if shortlist:
        more[CANDIDATES] = torch.tensor([network.blank, *(i for i in range(tokens) if i != network.blank)])
    if not network.reads_tokens:
        path = folder / f"model.{kind}.onnx"
        _write(_with_count(_trace(network, {**read, **more}, OUTPUTS)), path, facts, kind)
        return path
    path = folder / f"encoder.{kind}.onnx"
    _write(_trace(Encoding(network), read, (*ENCODED, LENGTHS)), path, facts, kind)
    states, padding, *canvas, _ = network.encode(*read.values())
    # A canvas of two positions: torch would take the size of a single one, as of a small ratio, for fixed.
    encoded = dict(zip(ENCODED, (states, padding, *(each[:, [0, 0]] for each in canvas)), strict=True))
    shown = {CANVAS_TOKENS: torch.full(encoded["canvas_padding"].shape, target.mask())}
    decoder = _trace(Decoding(network), {**encoded, **shown, **more}, DECODED)
    _write(_with_count(decoder), folder / DECODERS[path.name], facts, kind)
    return path


def _write(graph: Any, path: Path, facts: Facts, kind: str) -> None:
    import onnx

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


def _trace(network: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> Any:
    """Trace a graph with torch, on tensors whose first two sizes are free."""
    free = torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(dict.fromkeys(range(min(each.dim(), 2)), free) for each in inputs.values()),
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:  # the source line of each node
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return graph


def _with_count(graph: Any) -> Any:
    """Make the number of symbols an input."""
    (choice,) = (node for node in graph.graph.node if node.op_type == "TopK")
    choice.input[1] = SYMBOLS
    number = graph.graph.input.add()
    number.name = SYMBOLS
    number.type.tensor_type.elem_type = next(
        each.type.tensor_type.elem_type for each in graph.graph.input if each.name == ASKED
    )
    number.type.tensor_type.shape.dim.add().dim_value = 1
    for output in graph.graph.output[:2]:
        output.type.tensor_type.shape.dim[2].dim_param = SYMBOLS
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
