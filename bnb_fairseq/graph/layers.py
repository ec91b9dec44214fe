"""Layers for a graph: without branches or loops over the data, and without skipping padding."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.options import NetworkOptions

Weights = Mapping[str, Tensor]
HIDDEN = -1e9  # added to the attention scores of padding; a row of only -inf would be undefined


class Affine(nn.Module):
    """A linear layer with its weight as the graph multiplies it, I x O.

    Args:
        weights: of the model.
        name: of the layer.
        factor: of its output.
    """

    def __init__(self, weights: Weights, name: str, factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("weight", turned(weights, name) * factor)
        self.register_buffer("bias", weights[f"{name}.bias"] * factor)
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """... x I -> ... x O."""
        return x @ self.weight + self.bias


def turned(weights: Weights, name: str) -> Tensor:
    """The weight of a linear layer, I x O."""
    return weights[f"{name}.weight"].T.contiguous()


class Norm(nn.Module):
    """LayerNorm."""

    def __init__(self, weights: Weights, name: str, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", weights[f"{name}.weight"])
        self.register_buffer("bias", weights[f"{name}.bias"])
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """... x D -> ... x D."""
        return F.layer_norm(x, self.bias.shape, self.weight, self.bias, self.eps)


class Attention(nn.Module):
    """Multi-head attention, with the biases of keys and values where they cost nothing.

    The bias of keys adds the same to all scores of a query, which softmax drops. That of values comes through the
    weighted mean as it is, and so into the output's bias.

    Args:
        weights: of the model.
        name: of the attention.
        heads: H.
    """

    def __init__(self, weights: Weights, name: str, heads: int) -> None:
        super().__init__()
        values = f"{name}.v_proj"
        bias = weights[f"{values}.bias"]
        self.heads = heads
        self.queries = Affine(weights, f"{name}.q_proj", (len(bias) // heads) ** -0.5)
        self.register_buffer("keys", turned(weights, f"{name}.k_proj"))
        self.register_buffer("values", turned(weights, values))
        self.keys: Tensor
        self.values: Tensor
        self.out = Affine(weights, f"{name}.out_proj")
        self.out.bias += bias @ self.out.weight

    def forward(self, x: Tensor, source: Tensor, hidden: Tensor) -> Tensor:
        """Attend from x (B x L x D) to a source (B x S x D); ``hidden``, B x 1 x 1 x S, is added to scores."""
        queries, keys, values = (
            self._by_heads(part) for part in (self.queries(x), source @ self.keys, source @ self.values)
        )
        scores = queries @ keys.transpose(2, 3) + hidden  # B x H x L x S
        attended: Tensor = self.out((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))
        return attended

    def _by_heads(self, x: Tensor) -> Tensor:
        """B x L x D -> B x H x L x D/H."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Layer(nn.Module):
    """One BERT layer; see ``InferenceLayer``.

    Args:
        weights: of the model.
        name: of the layer.
        heads: H.
        eps: epsilon of LayerNorm.
    """

    def __init__(self, weights: Weights, name: str, heads: int, eps: float) -> None:
        super().__init__()
        self.attention = Attention(weights, f"{name}.self_attn", heads)
        self.attention_norm = Norm(weights, f"{name}.self_attn_layer_norm", eps)
        self.source_attention: Attention | None = None
        if f"{name}.encoder_attn.q_proj.weight" in weights:
            self.source_attention = Attention(weights, f"{name}.encoder_attn", heads)
            self.source_norm = Norm(weights, f"{name}.encoder_attn_layer_norm", eps)
        self.inner = Affine(weights, f"{name}.fc1")
        self.outer = Affine(weights, f"{name}.fc2")
        self.norm = Norm(weights, f"{name}.final_layer_norm", eps)

    def forward(
        self, x: Tensor, hidden: Tensor, source: Tensor | None = None, source_hidden: Tensor | None = None
    ) -> Tensor:
        """B x L x D -> B x L x D; ``source`` is B x S x D, the ``hidden`` are B x 1 x 1 x L and B x 1 x 1 x S."""
        x = self.attention_norm(x + self.attention(x, x, hidden))
        if self.source_attention is not None:
            x = self.source_norm(x + self.source_attention(x, source, source_hidden))
        normed: Tensor = self.norm(x + self.outer(F.gelu(self.inner(x))))
        return normed


class Stack(nn.Module):
    """Embeddings and layers of a side.

    Args:
        options: of the network.
        weights: of the model.
        side: ``encoder`` or ``decoder``.
    """

    def __init__(self, options: NetworkOptions, weights: Weights, side: str) -> None:
        super().__init__()
        sizes = options.encoder if side == "encoder" else options.decoder
        table = f"{side}.embeddings"
        types = weights[f"{table}.types.weight"]
        self.register_buffer("tokens", weights[f"{table}.tokens.weight"])
        self.register_buffer("positions", weights[f"{table}.positions.weight"] + types[0])
        self.register_buffer("second_segment", types[1] - types[0])
        self.tokens: Tensor
        self.positions: Tensor
        self.second_segment: Tensor
        self.embedding_norm = Norm(weights, f"{table}.layer_norm", sizes.layer_norm_eps)
        names = (f"{side}.layers.{i}" for i in range(sizes.layers))
        self.layers = nn.ModuleList(Layer(weights, name, sizes.attention_heads, sizes.layer_norm_eps) for name in names)

    def forward(
        self, content: Tensor, padding: Tensor, source: Tensor | None = None, source_padding: Tensor | None = None
    ) -> Tensor:
        """Add positions, normalise and apply the layers: B x L x D -> B x L x D, undefined at padding.

        ``padding`` is B x L, True at padding; ``source`` is B x S x D, the input of cross-attention, ``source_padding``
        B x S.
        """
        places = torch.arange(content.size(1), device=content.device)
        x = self.embedding_norm(content + F.embedding(places, self.positions))
        source_hidden = None if source_padding is None else _hide(source_padding)
        for layer in self.layers:
            x = layer(x, _hide(padding), source, source_hidden)
        return x


def _hide(padding: Tensor) -> Tensor:
    """Values to add to attention scores, from a mask: B x L -> B x 1 x 1 x L."""
    return (padding.float() * HIDDEN)[:, None, None, :]
