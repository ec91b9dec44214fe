"""Weights of a graph in int8, with one scale for each output of a matrix product and each row of an embedding table."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LARGEST = 127


def write_int8(graph: ModelProto, path: Path) -> None:
    """Write a float32 graph with its matrices in int8; its embedding tables change in place.

    The running graph quantises inputs of matrix products for each batch. Attention, norms and biases stay in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantise_tables(graph)
    quantize_dynamic(
        graph,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


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
