"""BERT's embeddings, the sizes of its layers, and the initialisation of layers that BERT lacks."""

from dataclasses import dataclass

from torch import Tensor, nn

INIT_STD = 0.02  # BERT's initializer range
EMBEDDING_SCALE = 0.04  # root mean square of a trained BERT's token embeddings


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of a stack of Transformer layers.

    Attributes:
        layers: number of layers.
        embed_dim: model width D.
        ffn_embed_dim: inner width of the feed-forward network.
        attention_heads: number of heads; divides ``embed_dim``.
        dropout: of embeddings, attention output and feed-forward output.
        attention_dropout: of attention weights.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    layers: int
    embed_dim: int
    ffn_embed_dim: int
    attention_heads: int
    dropout: float
    attention_dropout: float
    layer_norm_eps: float


def init_bert_weights(module: nn.Module) -> None:
    """Initialise a linear layer or embedding as BERT does, weights of deviation 0.02 and zero biases; others stay."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INIT_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def init_linear(layer: nn.Linear, gain: float = 1.0) -> None:
    """Initialise a linear layer that BERT lacks by the scale of its output: deviation gain / sqrt(fan in), zero biases.

    ``gain`` is the root mean square of the output for an input of root mean square 1.
    """
    nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)


class BertEmbeddings(nn.Module):
    """LayerNorm(content + position + type), then dropout. Holds the token table, which decoder and output layer share.

    Args:
        symbols: rows of the token table.
        positions: largest number of positions.
        sizes: width, dropout and epsilon.
    """

    def __init__(self, symbols: int, positions: int, sizes: LayerSizes) -> None:
        super().__init__()
        self.tokens = nn.Embedding(symbols, sizes.embed_dim)
        self.positions = nn.Embedding(positions, sizes.embed_dim)
        self.types = nn.Embedding(2, sizes.embed_dim)
        self.layer_norm = nn.LayerNorm(sizes.embed_dim, eps=sizes.layer_norm_eps)
        self.dropout = nn.Dropout(sizes.dropout)
        self.apply(init_bert_weights)

    def forward(self, content: Tensor, start: int = 0, types: Tensor | None = None) -> Tensor:
        """Add position and type to the content, and normalise: B x L x D.

        Args:
            content: B x L x D, token embeddings or what replaces them.
            start: position of the first one; start + L is at most ``positions``.
            types: B x L, int64, 1 in the second of two segments, else 0; None: 0 everywhere.

        Returns:
            B x L x D.
        """
        type_rows = self.types.weight[0] if types is None else self.types(types)
        places = self.positions.weight[start : start + content.size(1)] + type_rows
        embedded: Tensor = self.dropout(self.layer_norm(content + places))
        return embedded
