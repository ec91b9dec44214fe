"""From a checkpoint's weights to a network for inference, without fairseq."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..modules.layers import LayerSizes
from .nar_network import NarNetwork
from .options import AutoregressiveOptions, NetworkOptions, SymbolTable, no_layers

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}  # of a model folder
MOST_NAMED = 5  # tensors in a message


def layer_shapes(sizes: LayerSizes, encoder_dim: int | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's weights by fairseq's names.

    Args:
        sizes: sizes of the layer.
        encoder_dim: width of the states that cross-attention reads; None: no cross-attention.

    Returns:
        Shapes by name.
    """
    width, inner = sizes.embed_dim, sizes.ffn_embed_dim
    shapes: dict[str, tuple[int, ...]] = {}
    for attention, read in (("self_attn", width), *([("encoder_attn", encoder_dim)] if encoder_dim else [])):
        for name in ATTENTION:
            shapes[f"{attention}.{name}.weight"] = (width, read if name in ("k_proj", "v_proj") else width)
            shapes[f"{attention}.{name}.bias"] = (width,)
        shapes |= {f"{attention}_layer_norm.{kind}": (width,) for kind in ("weight", "bias")}
    shapes |= {"fc1.weight": (inner, width), "fc1.bias": (inner,), "fc2.weight": (width, inner), "fc2.bias": (width,)}
    return shapes | {f"final_layer_norm.{kind}": (width,) for kind in ("weight", "bias")}


class _NoInit(TorchFunctionMode):
    """Leaves tensors as ``torch.nn.init`` receives them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built here have shapes, but no memory: their parameters lie on torch's meta device.

    Drawing random numbers there would import torch's compiler, a second of each start.
    """
    with torch.device("meta"), _NoInit():
        yield


def load_network(
    options: NetworkOptions, source: SymbolTable, target: SymbolTable, weights: Mapping[str, Tensor]
) -> NarNetwork:
    """Build a network for inference on the weights' device.

    Args:
        options: the network's options.
        source: the source vocabulary.
        target: the target vocabulary.
        weights: of a ``bnb_transformer``, by their names in its checkpoint; they become float32.

    Returns:
        The network.

    Raises:
        ValueError: naming weights that are missing, unknown, not finite or of another shape.
    """
    require_layers(options, weights)
    with without_weights():
        network = NarNetwork(options, source, target, no_layers, no_layers)
    width = options.encoder.embed_dim
    sides = {"encoder": (options.encoder, None), "decoder": (options.decoder, width)}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for side, (sizes, read) in sides.items():
        for i in range(sizes.layers):
            shapes |= {f"{side}.layers.{i}.{name}": shape for name, shape in layer_shapes(sizes, read).items()}
    check_weights(shapes, weights)
    own = {name: weights[name].float() for name in network.state_dict()}
    network.load_state_dict(own, assign=True)
    for side, (sizes, read) in sides.items():
        names = layer_shapes(sizes, read)
        layers = [{name: weights[f"{side}.layers.{i}.{name}"].float() for name in names} for i in range(sizes.layers)]
        getattr(network, side).load_layers(layers)
    return network.requires_grad_(False).eval()


def check_weights(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are missing, unknown, not finite or of another shape or type: a ValueError names them."""
    problems = [f"{name} is missing" for name in shapes if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in shapes]
    for name in (name for name in shapes if name in weights):
        tensor, shape = weights[name], shapes[name]
        if tuple(tensor.shape) != shape:
            problems.append(f"{name} must be {shape}, but is {tuple(tensor.shape)}")
        elif tensor.dtype not in DTYPES.values():
            problems.append(f"{name} must be {', '.join(DTYPES)}, but is {str(tensor.dtype).removeprefix('torch.')}")
        elif not bool(tensor.isfinite().all()):
            problems.append(f"{name} must be finite, but has NaN or infinite values")
    if problems:
        more = [f"{len(problems) - MOST_NAMED} more"] if len(problems) > MOST_NAMED else []
        raise ValueError(f"the weights do not fit the options: {'; '.join([*problems[:MOST_NAMED], *more])}")


def require_layers(options: NetworkOptions | AutoregressiveOptions, weights: Mapping[str, Tensor]) -> None:
    """Refuse options with more layers than weights before they are built: a ValueError names the option."""
    for side, sizes in (("encoder", options.encoder), ("decoder", options.decoder)):
        if sizes.layers > len(weights):
            raise ValueError(f"{side}.layers must be the number of layers in the weights, but is {sizes.layers}")
