"""fairseq's Transformer layers, set up as BERT's: after-norm, exact gelu, BERT's LayerNorm epsilon."""

import torch.nn.functional as F
from fairseq.models.transformer import TransformerConfig
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import nn

from ..modules.layers import LayerSizes, init_bert_weights


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
    """``TransformerEncoderLayer`` modules of fairseq with BERT's initialisation."""
    config = _fairseq_config(sizes, sizes.embed_dim)
    return nn.ModuleList(
        _as_bert(TransformerEncoderLayerBase(config), sizes.layer_norm_eps) for _ in range(sizes.layers)
    )


def decoder_layers(sizes: LayerSizes, encoder_dim: int) -> nn.ModuleList:
    """``TransformerDecoderLayer`` modules of fairseq with BERT's initialisation; they compute no attention weights.

    ``encoder_dim`` is the width of the encoder states that cross-attention reads.
    """
    config = _fairseq_config(sizes, encoder_dim)
    layers = nn.ModuleList(
        _as_bert(TransformerDecoderLayerBase(config), sizes.layer_norm_eps) for _ in range(sizes.layers)
    )
    for layer in layers:
        layer.need_attn = False  # type: ignore[assignment]
    return layers
