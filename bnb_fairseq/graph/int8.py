"""Matrix products of a graph in int8: a scale for each output of a matrix, and each row of its input.

A row of its own scale does not depend on the other rows of a batch, so neither does a translation. Nor do the integers
depend on the processor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
LARGEST = 127
PARTS = ("int8", "scales")  # of a matrix: ends of names
RUNTIME = "com.microsoft"  # ONNX Runtime's own operators
ONE, STEP, ZERO, LEAST, LAST = "rows.one", "rows.step", "rows.zero", "rows.least", "rows.last"
CONSTANTS: dict[str, Array] = {
    ONE: np.array(1, np.float32),
    STEP: np.array(1 / LARGEST, np.float32),
    ZERO: np.array(128, np.uint8),
    LEAST: np.array(np.finfo(np.float32).tiny),
    LAST: np.array([-1]),
}


class Matrix(NamedTuple):
    """A matrix in int8, I x O, by the names in the graph.

    Attributes:
        values: int8.
        scales: of its columns, O.
        width: I.
        nodes: make both, if they are no constants.
    """

    values: str
    scales: str
    width: int
    nodes: Sequence[NodeProto] = ()


def write_int8(graph: ModelProto, path: Path) -> None:
    """Write a float32 graph with its matrices in int8; it changes in place.

    The running graph quantises each row of an input of a matrix product. Attention, norms and biases stay in float32.
    """
    quantise_tables(graph)
    quantise_products(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def quantised(matrix: Array, axis: int) -> tuple[Array, Array]:
    """An int8 matrix and its float32 scales, from a float32 one; sums of a product run along the axis.

    Processors with AVX2 but without VNNI add two neighbouring products in 16 bits, and cut off what is too large. So a
    scale is such that the largest two neighbours of one sign make no more than 128 together. This costs a tenth of the
    resolution, and every processor computes the same integers.
    """
    along = np.moveaxis(matrix, axis, 0)
    ends = np.zeros_like(along[: len(along) % 2])
    pairs = np.concatenate([along, ends]).reshape(-1, 2, *along.shape[1:])
    largest = np.maximum(pairs.clip(min=0).sum(axis=1), (-pairs).clip(min=0).sum(axis=1)).max(axis=0)
    scales = np.expand_dims(np.maximum(largest / LARGEST, CONSTANTS[LEAST]), axis).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


def quantise_tables(graph: ModelProto) -> None:
    """Quantise tables whose rows a float32 graph looks up, in place: int8 and a scale for each row."""
    tables = _float_matrices(graph)
    nodes: list[NodeProto] = []
    added: dict[str, Array] = {}
    for node in graph.graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables or _axis(node) != 0:
            nodes.append(node)
            continue
        names = [f"{node.input[0]}.{part}" for part in PARTS]
        if names[0] not in added:
            added |= zip(names, quantised(numpy_helper.to_array(tables[node.input[0]]), axis=1), strict=True)
        nodes += _looked_up(names, node)
    _replace(graph, nodes, added)


def quantise_products(graph: ModelProto) -> None:
    """Multiply in int8, in place: by constant matrices, and by turned rows of a quantised table that are looked up.

    A constant matrix may be looked up, too, by columns: the output layer is the table of tokens, turned.
    """
    constants = _float_matrices(graph)
    widths = {tensor.name: tensor.dims[1] for tensor in graph.graph.initializer if len(tensor.dims) == 2}
    made = {name: node for node in graph.graph.node for name in node.output}
    nodes: list[NodeProto] = []
    added = dict(CONSTANTS)
    quantised_rows: set[str] = set()
    for node in graph.graph.node:
        matrix = None
        if node.op_type == "MatMul" and (constant := constants.get(node.input[1])) is not None:
            values, scales = quantised(numpy_helper.to_array(constant), axis=0)
            matrix = Matrix(f"{constant.name}.int8", f"{constant.name}.scales", len(values))
            added |= {matrix.values: values, matrix.scales: scales[0]}
        elif node.op_type == "MatMul":
            matrix = _turned(node, made, widths)
        elif node.op_type == "Gather" and _axis(node) == 1 and node.input[0] in constants:
            nodes += _looked_up([f"{node.input[0]}.{part}" for part in PARTS], node)
            continue
        if matrix is None:
            nodes.append(node)
            continue
        rows = node.input[0]
        if rows not in quantised_rows:
            quantised_rows.add(rows)
            nodes += _quantised_rows(rows, matrix.width)
        nodes += [*matrix.nodes, *_product(rows, matrix, node)]
    graph.opset_import.append(helper.make_opsetid(RUNTIME, 1))
    _replace(graph, nodes, added)


def _float_matrices(graph: ModelProto) -> dict[str, TensorProto]:
    tensors = graph.graph.initializer
    return {each.name: each for each in tensors if len(each.dims) == 2 and each.data_type == TensorProto.FLOAT}


def _turned(product: NodeProto, made: dict[str, NodeProto], widths: dict[str, int]) -> Matrix | None:
    """The matrix of a product with turned rows of a quantised table, as they are in int8; None for another product."""
    turned = made.get(product.input[1])
    rows = made.get(turned.input[0]) if turned is not None and turned.op_type == "Transpose" else None
    if rows is None or rows.op_type != "Mul" or not rows.input[0].endswith(".float"):
        return None
    values, flat = f"{product.name}.int8", f"{product.name}.scales"
    int8 = made[rows.input[0]].input[0]
    nodes = [
        helper.make_node("Transpose", [int8], [values], values, perm=[1, 0]),
        helper.make_node("Reshape", [rows.input[1], LAST], [flat], flat),
    ]
    return Matrix(values, flat, widths[made[int8].input[0]], nodes)


def _quantised_rows(rows: str, width: int) -> list[NodeProto]:
    """Nodes that quantise rows, ... x I: ``rows.uint8``, and ``rows.scale``, ... x 1, ``rows.zeros`` beside it."""
    most, least, below, largest, scale, shape, zeros, uint8 = (
        f"{rows}.{part}" for part in ("most", "least", "below", "largest", "scale", "shape", "zeros", "uint8")
    )
    return [
        helper.make_node("ReduceMax", [rows, LAST], [most], most, keepdims=1),
        helper.make_node("ReduceMin", [rows, LAST], [least], least, keepdims=1),
        helper.make_node("Neg", [least], [below], below),
        helper.make_node("Max", [most, below, LEAST], [largest], largest),  # a row of zeros stays one
        helper.make_node("Mul", [largest, STEP], [scale], scale),
        helper.make_node("Shape", [scale], [shape], shape),
        helper.make_node("Expand", [ZERO, shape], [zeros], zeros),
        helper.make_node("QuantizeLinear", [rows, scale, zeros], [uint8], uint8, axis=-1, block_size=width),
    ]


def _product(rows: str, matrix: Matrix, node: NodeProto) -> list[NodeProto]:
    """Nodes that replace a product with quantised rows."""
    floats, (output,) = f"{node.name}.floats", node.output
    given = [f"{rows}.uint8", matrix.values, ONE, matrix.scales, ZERO]
    return [
        helper.make_node("MatMulIntegerToFloat", given, [floats], floats, domain=RUNTIME),
        helper.make_node("Mul", [floats, f"{rows}.scale"], [output], f"{node.name}.scaled"),
    ]


def _axis(gather: NodeProto) -> int:
    """Along which axis a Gather looks up."""
    return next((each.i for each in gather.attribute if each.name == "axis"), 0)


def _looked_up(table: list[str], node: NodeProto) -> list[NodeProto]:
    """Nodes that replace a Gather of a table: its rows, or columns, times their scales."""
    (output,), rows = node.output, node.input[1]
    names = [f"{output}.{part}" for part in ("int8", "float", "scales")]
    by_columns = {"axis": 1} if _axis(node) else {}
    return [
        helper.make_node("Gather", [table[0], rows], [names[0]], f"{output}.rows", **by_columns),
        helper.make_node("Cast", [names[0]], [names[1]], f"{output}.cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [table[1], rows], [names[2]], f"{output}.scale"),
        helper.make_node("Mul", [names[1], names[2]], [output], f"{output}.scaled"),
    ]


def _replace(graph: ModelProto, nodes: Sequence[NodeProto], constants: dict[str, Array]) -> None:
    """Put nodes in place of a graph's and add constants; what nobody reads is left out."""
    used = {output.name for output in graph.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    del graph.graph.node[:]
    graph.graph.node.extend(reversed(kept))
    tensors = [*graph.graph.initializer, *(numpy_helper.from_array(each, name) for name, each in constants.items())]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(tensor for tensor in tensors if tensor.name in used)
