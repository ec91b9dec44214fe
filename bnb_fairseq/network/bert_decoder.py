"""BERT's embeddings, layers with cross-attention, and masked-word head: the common part of both decoders."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.inference import InferenceLinear, InferenceStack
from ..modules.layers import BertEmbeddings, LayerSizes, init_bert_weights
from ..modules.lazy_logits import LazyLogits
from .options import BuildLayers, SymbolTable


class MaskedWordHead(nn.Module):
    """BERT's output head: LayerNorm(gelu(W x)) times the token embeddings, or times its own matrix, plus a bias.

    Args:
        symbols: V.
        sizes: width and LayerNorm epsilon.
        tied: use the token embeddings; else the head has a matrix, V x D, which its owner must fill.
    """

    def __init__(self, symbols: int, sizes: LayerSizes, tied: bool = True) -> None:
        super().__init__()
        self.transform = nn.Linear(sizes.embed_dim, sizes.embed_dim)
        self.layer_norm = nn.LayerNorm(sizes.embed_dim, eps=sizes.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.weight = None if tied else nn.Parameter(torch.zeros(symbols, sizes.embed_dim))
        self.inference: nn.Module | None = None
        self.apply(init_bert_weights)

    def prepare_for_inference(self, token_table: Tensor) -> None:
        """Pack the weights, with ``token_table`` (V x D) if tied; ``forward`` ignores its own afterwards."""
        weight = token_table if self.weight is None else self.weight
        transform = InferenceLinear.of(self.transform, gelu=True)
        output = InferenceLinear(weight, self.bias, exact=True)  # rounded logits would tie
        self.inference = nn.Sequential(transform, self.layer_norm, output)

    def forward(self, states: Tensor, token_table: Tensor) -> LazyLogits:
        """Logits ... x V of states ... x D; ``token_table``, V x D, is the output layer if tied."""
        if self.inference is not None:
            return LazyLogits(self.inference(states))
        weight = token_table if self.weight is None else self.weight
        states = self.layer_norm(F.gelu(self.transform(states)))
        # A view belongs to the graph, so that torch's distributed training finds the parameters in the output.
        return LazyLogits(states, weight.view_as(weight), self.bias.view_as(self.bias))


class BertDecoder(nn.Module):
    """BERT as a decoder with a tied or an untied output layer; subclasses define its input.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        positions: largest number of positions.
        build_layers: builds the layers, with cross-attention.
        extra_symbols: rows after the dictionary's in the token table.
        tied: share the token embeddings with the output layer; else it has its own matrix, which starts as their copy.
    """

    def __init__(
        self,
        dictionary: SymbolTable,
        sizes: LayerSizes,
        positions: int,
        build_layers: BuildLayers,
        extra_symbols: int = 0,
        tied: bool = True,
    ) -> None:
        nn.Module.__init__(self)  # in a subclass, super() may be a decoder of fairseq
        self.dictionary: Any = dictionary
        self.sizes = sizes
        self.embeddings = BertEmbeddings(len(dictionary) + extra_symbols, positions, sizes)
        self.layers = build_layers(sizes)
        self.head = MaskedWordHead(self.embeddings.tokens.num_embeddings, sizes, tied)
        self.start_output_layer()
        self.inference: InferenceStack | None = None
        self._positions = positions

    @torch.no_grad()
    def start_output_layer(self) -> None:
        """Copy the token embeddings into an untied output layer."""
        if self.head.weight is not None:
            self.head.weight.copy_(self.embeddings.tokens.weight)

    def make_generation_fast_(self, retain_dropout: bool = False, **_: Any) -> None:
        """Switch to layers for inference, unless ``--retain-dropout`` is set; fairseq's commands call this."""
        if not retain_dropout:
            self.load_layers([layer.state_dict() for layer in self.layers])
            self.layers = nn.ModuleList()

    def load_layers(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Switch to layers for inference, with each layer's weights by fairseq's names, and prepare the head."""
        self.inference = InferenceStack(weights, self.sizes.attention_heads, self.sizes.layer_norm_eps)
        self.head.prepare_for_inference(self.embeddings.tokens.weight)

    def lazy_logits(self, states: Tensor) -> LazyLogits:
        """Logits ... x V of states ... x D; extra symbols follow the dictionary's."""
        logits: LazyLogits = self.head(states, self.embeddings.tokens.weight)
        return logits

    def output_layer(self, states: Tensor) -> Tensor:
        """As ``lazy_logits``, computed at once."""
        return self.lazy_logits(states).whole()

    def max_positions(self) -> int:
        """Largest number of positions."""
        return self._positions
