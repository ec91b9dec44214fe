"""What the decoders have in common: BERT's embeddings, layers with cross-attention, and the masked-word head."""

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
    """BERT's output head: LayerNorm(gelu(W x)) times the token embeddings, or a matrix of its own, plus a bias.

    Args:
        symbols: V.
        sizes: width and LayerNorm epsilon.
        tied: whether the token embeddings are used; else there is a matrix, V x D, which its owner is to fill.
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
        """Lay the weights out for inference.

        Args:
            token_table: V x D; what ``forward`` is given later is not read any more.
        """
        weight = token_table if self.weight is None else self.weight
        transform = InferenceLinear.of(self.transform, gelu=True)
        output = InferenceLinear(weight, self.bias, exact=True)  # rounded logits would tie
        self.inference = nn.Sequential(transform, self.layer_norm, output)

    def forward(self, states: Tensor, token_table: Tensor) -> LazyLogits:
        """Score the vocabulary.

        Args:
            states: ... x D.
            token_table: V x D, the embeddings that the output layer is tied to, unless it has a matrix of its own.

        Returns:
            Logits, ... x V.
        """
        if self.inference is not None:
            return LazyLogits(self.inference(states))
        weight = token_table if self.weight is None else self.weight
        states = self.layer_norm(F.gelu(self.transform(states)))
        # Views have a graph, by which torch's distributed training finds them in what the model returns.
        return LazyLogits(states, weight.view_as(weight), self.bias.view_as(self.bias))


class BertDecoder(nn.Module):
    """BERT as a decoder, its output layer tied to its token embeddings or not; subclasses say what it reads.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        positions: largest number of positions.
        build_layers: builds the layers, with cross-attention.
        extra_symbols: rows after the dictionary's in the token table.
        tied: off, the output layer has a matrix of its own, which starts as a copy of the token embeddings.
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
        nn.Module.__init__(self)  # a decoder of fairseq's may stand behind this class
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
        """Copy the token embeddings into the output layer's matrix, if it has one of its own."""
        if self.head.weight is not None:
            self.head.weight.copy_(self.embeddings.tokens.weight)

    def make_generation_fast_(self, retain_dropout: bool = False, **_: Any) -> None:
        """Exchange layers and head for ones that only infer; fairseq's commands call this before they translate.

        Args:
            retain_dropout: fairseq's ``--retain-dropout``: everything stays as it is.
        """
        if not retain_dropout:
            self.load_layers([layer.state_dict() for layer in self.layers])
            self.layers = nn.ModuleList()

    def load_layers(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Take layers that only infer, and prepare the head: for each layer its weights, named as in fairseq's."""
        self.inference = InferenceStack(weights, self.sizes.attention_heads, self.sizes.layer_norm_eps)
        self.head.prepare_for_inference(self.embeddings.tokens.weight)

    def lazy_logits(self, states: Tensor) -> LazyLogits:
        """Score the vocabulary where the scores are read.

        Args:
            states: ... x D.

        Returns:
            Logits, ... x V, those of extra symbols after the dictionary's.
        """
        logits: LazyLogits = self.head(states, self.embeddings.tokens.weight)
        return logits

    def output_layer(self, states: Tensor) -> Tensor:
        """Score the vocabulary: states ... x D -> logits ... x V, as ``lazy_logits``."""
        return self.lazy_logits(states).whole()

    def max_positions(self) -> int:
        """Return the largest number of positions."""
        return self._positions
