"""Traces of networks for ONNX that tests of one process share."""

import hashlib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Trace = Callable[[Any, bool], Any]  # of a network, with a shortlist or without


def identity(network: nn.Module, shortlist: bool) -> str:
    """A digest of all that decides a trace: each module's class, tensors and settings."""
    digest = hashlib.sha256(repr(shortlist).encode())
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

    def shared(network: Any, shortlist: bool) -> Any:
        key = identity(network, shortlist)
        if key not in made:
            made[key] = trace(network, shortlist)
        copy = type(made[key])()
        copy.CopyFrom(made[key])
        return copy

    return shared
