"""fairseq's Transformer layers, set up as BERT's: after-norm, exact gelu, BERT's LayerNorm epsilon."""

from dataclasses import dataclass

import torch.nn.functional as F
from fairseq.models.transformer import TransformerConfig
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
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
        dropout: on embeddings, attention output and feed-forward output.
        attention_dropout: on attention weights.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    layers: int
    embed_dim: int
    ffn_embed_dim: int
    attention_heads: int
    dropout: float
    attention_dropout: float
    layer_norm_eps: float


def _fairseq_config(sizes: LayerSizes, encoder_dim: int) -> TransformerConfig:
    config = TransformerConfig()
    for side, width in ((config.encoder, encoder_dim), (config.decoder, sizes.embed_dim)):
        side.embed_dim = width
        side.ffn_embed_dim = sizes.ffn_embed_dim
        side.attention_heads = sizes.attention_heads
        side.normalize_before = False
    config.dropout = sizes.dropout
    config.attention_dropout = sizes.attention_dropout
    config.activation_dropout = 0.0
    return config


def _as_bert(layer: nn.Module, eps: float) -> nn.Module:
    layer.activation_fn = F.gelu  # type: ignore[assignment]  # fairseq's own gelu casts to float32 and back
    for module in layer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    layer.apply(init_bert_weights)
    return layer


def encoder_layers(sizes: LayerSizes) -> nn.ModuleList:
    """Build BERT encoder layers.

    Args:
        sizes: their sizes.

    Returns:
        fairseq ``TransformerEncoderLayer`` modules, freshly initialised.
    """
    config = _fairseq_config(sizes, sizes.embed_dim)
    return nn.ModuleList(
        _as_bert(TransformerEncoderLayerBase(config), sizes.layer_norm_eps) for _ in range(sizes.layers)
    )


def decoder_layers(sizes: LayerSizes, encoder_dim: int) -> nn.ModuleList:
    """Build BERT layers with cross-attention in the middle.

    Args:
        sizes: their sizes.
        encoder_dim: width of the encoder states that cross-attention reads.

    Returns:
        fairseq ``TransformerDecoderLayer`` modules, freshly initialised, attention weights not computed.
    """
    config = _fairseq_config(sizes, encoder_dim)
    layers = nn.ModuleList(
        _as_bert(TransformerDecoderLayerBase(config), sizes.layer_norm_eps) for _ in range(sizes.layers)
    )
    for layer in layers:
        layer.need_attn = False  # type: ignore[assignment]
    return layers


def init_bert_weights(module: nn.Module) -> None:
    """Initialise one module as BERT does: normal weights of deviation 0.02, zero biases.

    Args:
        module: any module; only linear layers and embeddings change.
    """
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INIT_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def init_linear(layer: nn.Linear, gain: float = 1.0) -> None:
    """Initialise a linear layer that BERT does not have, by the scale that its output is to have.

    Args:
        layer: the linear layer; weights become normal with deviation gain / sqrt(fan in), biases zero.
        gain: root mean square of the output where that of the input is 1.
    """
    nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)


class BertEmbeddings(nn.Module):
    """BERT's input: LayerNorm(content + position + type), then dropout.

    The token table is kept here too, since decoder and output head share it.

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
        """Add position and type, normalise.

        Args:
            content: B x L x D, token embeddings or what stands in their place.
            start: position of the first of them; the last one's lies below ``positions``.
            types: B x L, int64, 1 in the second of two segments, 0 elsewhere; None: 0 everywhere.

        Returns:
            B x L x D.
        """
        type_rows = self.types.weight[0] if types is None else self.types(types)
        places = self.positions.weight[start : start + content.size(1)] + type_rows
        embedded: Tensor = self.dropout(self.layer_norm(content + places))
        return embedded
