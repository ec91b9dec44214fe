"""Checks of a model's tensors: that they are the saved ones, are finite, and match the options in number."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)  # fairseq saves them as float32
# A side's options that are sizes, by the names that this package's models and fairseq's Transformer have for them.
SIDE_SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "positions")
OTHER_SIZES = ("latent_size", "length_range", "max_source_positions", "max_target_positions", "num_classes")
SIZES = (*(f"{side}_{name}" for side in ("encoder", "decoder") for name in SIDE_SIZES), *OTHER_SIZES)


def tensor_digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of tensors with their names, types and shapes, as fairseq saves them; other values do not count."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        if not isinstance(value, Tensor):
            continue
        tensor = value.detach().to("cpu", torch.float32 if value.dtype in HALF else value.dtype).contiguous()
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def find_faults(tensors: Mapping[str, Any]) -> list[str]:
    """A line about each tensor that cannot be a weight: of integers or complex numbers, or not finite."""
    faults = []
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            faults.append(f"holds no tensor as {name}")
        elif not tensor.is_floating_point():
            faults.append(f"{name} must be of a floating type, but is {str(tensor.dtype).removeprefix('torch.')}")
        elif tensor.numel() > tensor.untyped_storage().nbytes():
            faults.append(f"{name} must store all values of its shape, but {tuple(tensor.shape)} repeat stored ones")
        elif not math.isfinite(float(tensor.sum())) and not bool((finite := tensor.isfinite()).all()):
            others = f"{int((~finite).sum()):,} of its {tensor.numel():,} values are {tensor[~finite][0].item()}"
            faults.append(f"{name} must be finite, but {others}")
    return faults


def find_size_faults(options: Mapping[str, Any], size: int) -> list[str]:
    """Compare the sizes in a model's options with the file of ``size`` bytes, which holds every parameter.

    Returns a line about each size that is no size, or one about a model that is larger than the file.
    """
    sizes = {name: options[name] for name in SIZES if options.get(name) is not None}
    wrong = [name for name, value in sizes.items() if type(value) is not int or value < 0]
    if wrong:
        return [f"{name} must be an integer of at least 0, but is {sizes[name]!r}" for name in wrong]
    sides = ("encoder", "decoder") if options.get("classify_with") in (None, "decoder") else ("encoder",)
    parameters = sum(_parameters(sizes, side) for side in sides) + sum(sizes.get(name, 0) for name in OTHER_SIZES)
    if parameters > size:
        shown = ", ".join(f"{name} {value:,}" for name, value in sizes.items())
        return [f"its options ({shown}) describe {parameters:,} parameters, but the file has {size:,} bytes"]
    return []


def _parameters(sizes: Mapping[str, int], side: str) -> int:
    """Lower bound of a side's parameters: square matrices and feed-forward layers, and positions."""
    layers, width, inner, heads, positions = (sizes.get(f"{side}_{name}", 0) for name in SIDE_SIZES)
    return layers * (4 * width * width + 2 * width * inner) + positions * width + layers + width + inner + heads
