"""Checks of a model's tensors: they are the saved ones, are numbers, and are as many as the options say."""

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
    """Compute a digest of tensors with their names, types and shapes, as they are when fairseq has saved them.

    Args:
        tensors: by name; anything else than tensors does not count.

    Returns:
        SHA-256, hexadecimal.
    """
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        if not isinstance(value, Tensor):
            continue
        tensor = value.detach().to("cpu", torch.float32 if value.dtype in HALF else value.dtype).contiguous()
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def find_faults(tensors: Mapping[str, Any]) -> list[str]:
    """List tensors that are no weights: of whole or complex numbers, or with NaN or infinite values.

    Args:
        tensors: by name.

    Returns:
        A line about each.
    """
    faults = []
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            faults.append(f"holds no tensor as {name}")
        elif not tensor.is_floating_point():
            faults.append(f"{name} must be of a floating type, but is {str(tensor.dtype).removeprefix('torch.')}")
        elif tensor.numel() > tensor.untyped_storage().nbytes():
            faults.append(f"{name} must be as large as it says, but {tuple(tensor.shape)} are one stretched value")
        elif not math.isfinite(float(tensor.sum())) and not bool((finite := tensor.isfinite()).all()):
            others = f"{int((~finite).sum()):,} of its {tensor.numel():,} values are {tensor[~finite][0].item()}"
            faults.append(f"{name} must be finite, but {others}")
    return faults


def find_size_faults(options: Mapping[str, Any], size: int) -> list[str]:
    """Compare the sizes in a model's options with the file, which holds every parameter.

    Args:
        options: of the model.
        size: bytes of the file.

    Returns:
        A line about each size that is no size, or one about a model that is larger than the file.
    """
    sizes = {name: options[name] for name in SIZES if options.get(name) is not None}
    wrong = [name for name, value in sizes.items() if type(value) is not int or value < 0]
    if wrong:
        return [f"{name} must be a whole number from 0, but is {sizes[name]!r}" for name in wrong]
    sides = ("encoder", "decoder") if options.get("classify_with") in (None, "decoder") else ("encoder",)
    parameters = sum(_parameters(sizes, side) for side in sides) + sum(sizes.get(name, 0) for name in OTHER_SIZES)
    if parameters > size:
        shown = ", ".join(f"{name} {value:,}" for name, value in sizes.items())
        return [f"its options ({shown}) describe {parameters:,} parameters, but the file has {size:,} bytes"]
    return []


def _parameters(sizes: Mapping[str, int], side: str) -> int:
    """Count a side's parameters from below: square matrices and feed-forward layers, and positions."""
    layers, width, inner, heads, positions = (sizes.get(f"{side}_{name}", 0) for name in SIDE_SIZES)
    return layers * (4 * width * width + 2 * width * inner) + positions * width + layers + width + inner + heads
