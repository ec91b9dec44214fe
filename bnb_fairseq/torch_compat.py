"""Functions that torch does not document, and settings of torch that belong to the whole process. No fairseq."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

PACKED_ROWS = 512  # the layout for this many rows was as fast as any for 1 to 1,600 rows
_precision_lock = threading.Lock()
_precisions: list[str] = []  # the process's, and those that are wanted at the moment


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Multiply in a precision for a while; the process has its own again afterwards, also where threads overlap.

    Args:
        precision: see ``torch.set_float32_matmul_precision``.

    Yields:
        Nothing.
    """
    with _precision_lock:
        if not _precisions:
            _precisions.append(torch.get_float32_matmul_precision())  # the process's
        _precisions.append(precision)
        _multiply_in(precision)
    try:
        yield
    finally:
        with _precision_lock:
            del _precisions[-1 - _precisions[::-1].index(precision)]  # another may have begun later
            if len(_precisions) == 1:
                torch.set_float32_matmul_precision(_precisions.pop())
            else:
                _multiply_in(_precisions[-1])


def _multiply_in(precision: str) -> None:
    """Set the precision, but let oneDNN round nothing by itself.

    Under "medium" it would round the factors of every small product, so that attention of short sentences takes many
    times as long on a processor with AMX. ``multiplying_in_bfloat16`` and ``pack_weight`` round where that pays.
    """
    torch.set_float32_matmul_precision(precision)
    if hasattr(torch.backends.mkldnn, "matmul"):  # of new releases
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"


def pack_weight(weight: Tensor, exact: bool = True) -> Tensor | None:
    """Lay a weight out as oneDNN multiplies it: several times as fast as torch's own product for few rows on a CPU.

    Args:
        weight: O x I.
        exact: True: stay in float32; False: round to bfloat16, if the processor gains.

    Returns:
        The weight in a layout that only ``packed_linear`` reads; None where it would not help or does not exist.
    """
    usable = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.enabled
    if not usable or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return None
    if not exact and _gains_from_bfloat16():
        weight = weight.bfloat16()
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_ROWS)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor, gelu: bool) -> Tensor:
    """Apply a linear layer.

    Args:
        x: ... x I, float32.
        packed: from ``pack_weight``.
        bias: O.
        gelu: apply the exact gelu.

    Returns:
        ... x O, float32.
    """
    activation = "gelu" if gelu else "none"
    flat = x.reshape(-1, x.size(-1))
    rows = len(flat)
    flat = F.pad(flat, (0, 0, 0, padded_rows(rows) - rows)).to(packed.dtype)
    y = torch.ops.mkldnn._linear_pointwise(flat, packed, bias.to(packed.dtype), activation, [], "none")
    return y[:rows].float().view(*x.shape[:-1], y.size(-1))


def padded_rows(rows: int) -> int:
    """Round a number of rows up, by a sixteenth at most, to one of few: oneDNN keeps a product for each number."""
    step = 1 << max(0, (rows - 1).bit_length() - 5)
    return -(-rows // step) * step


def multiplying_in_bfloat16(function: AnyFunction) -> AnyFunction:
    """Let a function multiply in bfloat16 on a CPU under ``torch.set_float32_matmul_precision("medium")``.

    Parameters, gradients and the optimizer stay float32.

    Args:
        function: computes a loss.

    Returns:
        The function under autocast; itself, if another precision is set or the processor does not gain.
    """
    if torch.get_float32_matmul_precision() != "medium" or not _gains_from_bfloat16():
        return function
    under_autocast: AnyFunction = torch.autocast("cpu", torch.bfloat16)(function)
    return under_autocast


def _multiplies_bfloat16() -> bool:
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def _gains_from_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32.

    Intel's vector instruction for bfloat16 (AVX-512) needs twice the time of that for float32; its matrix instruction
    (AMX) is fast, and so is AMD's vector instruction.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of new releases
    slow = str(capabilities.get("cpu_name", "")).startswith("Intel") and not capabilities.get("amx_bf16")
    return _multiplies_bfloat16() and not slow
