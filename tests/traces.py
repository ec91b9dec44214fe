"""Traces of networks for ONNX that tests of one process share."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Trace = Callable[[Any, Mapping[str, Tensor], Sequence[str]], Any]  # of a network, on inputs, with names of outputs


def identity(network: nn.Module, inputs: Mapping[str, Tensor]) -> str:
    """A digest of all that decides a trace: each module's class, tensors and settings, and the inputs."""
    digest = hashlib.sha256(repr([(name, each.shape) for name, each in inputs.items()]).encode())
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__}".encode())
        for key, value in sorted({**vars(module), **dict(module.named_buffers(recurse=False))}.items()):
            if isinstance(value, Tensor):
                digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
            elif not key.startswith("_"):
                digest.update(f"{key} {value!r}".encode())
    return digest.hexdigest()


def once(trace: Trace) -> Trace:
    """Trace a network at the first call only; each call returns a copy of the graph, which its caller may change."""
    made: dict[str, Any] = {}

    def shared(network: Any, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> Any:
        key = identity(network, inputs)
        if key not in made:
            made[key] = trace(network, inputs, outputs)
        copy = type(made[key])()
        copy.CopyFrom(made[key])
        return copy

    return shared
