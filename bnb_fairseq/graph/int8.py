"""Matrix products of a graph in int8: a scale for each output of a matrix, and each row of its input.

A row of its own scale does not depend on the other rows of a batch, so neither does a translation.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LARGEST = 127
RUNTIME = "com.microsoft"  # ONNX Runtime's own operators
SCALE, ZERO, LEAST, LAST = "rows.scale", "rows.zero", "rows.least", "rows.last"
CONSTANTS = {
    SCALE: np.float32(1 / LARGEST),
    ZERO: np.uint8(128),
    LEAST: np.float32(np.finfo(np.float32).tiny),
    LAST: np.array([-1]),
}


def write_int8(graph: ModelProto, path: Path) -> None:
    """Write a float32 graph with its matrices in int8; its embedding tables change in place.

    The running graph quantises each row of an input of a matrix product. Attention, norms and biases stay in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantise_tables(graph)
    multiply_rows(graph)
    quantize_dynamic(
        graph,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    graph = onnx.load(path)
    quantise_rows(graph)
    onnx.save(graph, path)


def quantise_tables(graph: ModelProto) -> None:
    """Quantise tables whose rows a float32 graph looks up, in place: int8 and a scale for each row."""
    tables = {tensor.name: tensor for tensor in graph.graph.initializer if len(tensor.dims) == 2}
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT:
            nodes.append(node)
            continue
        names = [f"{table.name}.{part}" for part in ("int8", "scales")]
        if names[0] not in {tensor.name for tensor in graph.graph.initializer}:
            values = numpy_helper.to_array(table)
            scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
            rounded = np.rint(values / scales).astype(np.int8)
            parts = zip(names, (rounded, scales.astype(np.float32)), strict=True)
            graph.graph.initializer.extend(numpy_helper.from_array(part, name) for name, part in parts)
        nodes += _looked_up(names, node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    onnx.checker.check_model(graph)


def quantise_rows(graph: ModelProto) -> None:
    """Give each row of a quantised input its own scale, in place; before, ``quantize_dynamic`` gave a batch one.

    A row is divided by its largest magnitude, quantised with a constant scale, and its product multiplied by the
    magnitude.
    """
    nodes: list[NodeProto] = []
    renamed: dict[str, str] = {}
    largest = {}  # quantised input -> largest magnitudes of its rows
    products: dict[str, str] = {}  # output on the way from a product to its floats -> quantised input
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type == "DynamicQuantizeLinear":
            quantised, scale, zero = node.output
            renamed |= {scale: SCALE, zero: ZERO}
            largest[quantised] = f"{node.input[0]}.largest"
            nodes += unit_rows(node.input[0], quantised)
            continue
        nodes.append(node)
        if node.op_type == "MatMulInteger":
            products[node.output[0]] = node.input[0]
        elif node.op_type == "Cast" and node.input[0] in products:
            products[node.output[0]] = products[node.input[0]]
        elif node.op_type == "Mul" and (of_row := products.get(node.input[0]) or products.get(node.input[1])):
            (output,) = node.output
            node.output[0] = f"{output}.unit"
            nodes.append(helper.make_node("Mul", [f"{output}.unit", largest[of_row]], [output], f"{output}.scaled"))
    _replace(graph, nodes)


def unit_rows(rows: str, quantised: str) -> list[NodeProto]:
    """Nodes that quantise ``rows``, each divided by its largest magnitude, ``rows.largest``."""
    names = [f"{rows}.{part}" for part in ("magnitudes", "most", "largest", "unit")]
    return [
        helper.make_node("Abs", [rows], [names[0]], names[0]),
        helper.make_node("ReduceMax", [names[0], LAST], [names[1]], names[1], keepdims=1),
        helper.make_node("Max", [names[1], LEAST], [names[2]], names[2]),  # a row of zeros stays one
        helper.make_node("Div", [rows, names[2]], [names[3]], names[3]),
        helper.make_node("QuantizeLinear", [names[3], SCALE, ZERO], [quantised], quantised),
    ]


def _replace(graph: ModelProto, nodes: list[NodeProto]) -> None:
    """Put nodes in place of a graph's, with the constants of ``unit_rows``."""
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    known = {tensor.name for tensor in graph.graph.initializer}
    graph.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name not in known
    )
    onnx.checker.check_model(graph)


def multiply_rows(graph: ModelProto) -> None:
    """Multiply by the rows of a table that the graph looks up, as they are, in int8, in place.

    Args:
        graph: its tables are quantised; a product with such rows, turned, multiplies in int8.
    """
    made = {name: node for node in graph.graph.node for name in node.output}
    for product in [node for node in graph.graph.node if node.op_type == "MatMul"]:
        turned = made.get(product.input[1])
        rows = made.get(turned.input[0]) if turned is not None and turned.op_type == "Transpose" else None
        if rows is None or rows.op_type != "Mul" or not rows.input[0].endswith(".float"):
            continue
        int8, scales, name, states = made[rows.input[0]].input[0], rows.input[1], product.name, product.input[0]
        unit, turned_rows, flat, floats = (f"{name}.{part}" for part in ("unit", "int8", "flat", "floats"))
        nodes = [
            helper.make_node("Transpose", [int8], [turned_rows], perm=[1, 0]),
            helper.make_node("Reshape", [scales, LAST], [flat]),
            *unit_rows(states, unit),
            helper.make_node(
                "MatMulIntegerToFloat", [unit, turned_rows, SCALE, flat, ZERO], [floats], floats, domain=RUNTIME
            ),
            helper.make_node("Mul", [floats, f"{states}.largest"], list(product.output), f"{name}.scaled"),
        ]
        kept = [node for node in graph.graph.node if node not in (turned, rows, made[rows.input[0]])]
        place = kept.index(product)
        kept[place : place + 1] = nodes
        graph.opset_import.append(helper.make_opsetid(RUNTIME, 1))
        _replace(graph, kept)


def _looked_up(table: list[str], node: NodeProto) -> list[NodeProto]:
    """Nodes that replace a Gather of a table: its rows times their scales."""
    (output,), rows = node.output, node.input[1]
    names = [f"{output}.{part}" for part in ("int8", "float", "scales")]
    return [
        helper.make_node("Gather", [table[0], rows], [names[0]], f"{output}.rows"),
        helper.make_node("Cast", [names[0]], [names[1]], f"{output}.cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [table[1], rows], [names[2]], f"{output}.scale"),
        helper.make_node("Mul", [names[1], names[2]], [output], f"{output}.scaled"),
    ]
