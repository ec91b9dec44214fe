"""fairseq's Transformer layers, set up as BERT's: after-norm, exact gelu, BERT's LayerNorm epsilon."""

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import Tensor, nn

from ..modules.layers import LayerSizes, init_bert_weights


class BertAttention(MultiheadAttention):
    """fairseq's attention, whose softmax stays in float32 where a CPU multiplies in bfloat16.

    torch's CPU kernel takes many times as long to differentiate attention of short sentences in bfloat16.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        incremental_state: dict[str, dict[str, Tensor | None]] | None = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        **others: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """See fairseq; float32 inside if masks are boolean, and neither weights nor kept keys and values are asked for.

        Args:
            query: T x B x D.
            key: S x B x the width of the states attended to.
            value: as ``key``.
            key_padding_mask: B x S, True at padding.
            incremental_state: keys and values of the steps before.
            need_weights: return the attention weights, too.
            static_kv: keys and values do not change from step to step.
            attn_mask: T x S, True where it hides; or numbers to add to the scores.
            **others: see fairseq.

        Returns:
            T x B x D, and the attention weights or None.
        """
        autocast = query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        known = attn_mask is None or attn_mask.dtype == torch.bool
        if not autocast or not known or need_weights or incremental_state is not None or key is None or value is None:
            return super().forward(
                query, key, value, key_padding_mask, incremental_state, need_weights, static_kv, attn_mask, **others
            )
        hidden = attn_mask
        if key_padding_mask is not None:
            pads = key_padding_mask.bool()[:, None, None]
            hidden = pads if hidden is None else pads | hidden
        q, k, v = (
            projection(states).float().unflatten(-1, (self.num_heads, -1)).permute(1, 2, 0, 3)
            for projection, states in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        seen = None if hidden is None else ~hidden
        drops = self.training or self.dropout_module.apply_during_inference
        dropout = self.dropout_module.p if drops else 0.0
        with torch.autocast("cpu", enabled=False):
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return self.out_proj(attended.permute(2, 0, 1, 3).flatten(-2)), None


class _EncoderLayer(TransformerEncoderLayerBase):
    def build_self_attention(self, embed_dim: int, cfg: TransformerConfig) -> MultiheadAttention:
        return BertAttention(embed_dim, cfg.encoder.attention_heads, dropout=cfg.attention_dropout, self_attention=True)


class _DecoderLayer(TransformerDecoderLayerBase):
    def build_self_attention(self, embed_dim: int, cfg: TransformerConfig, **others: Any) -> MultiheadAttention:
        return BertAttention(embed_dim, cfg.decoder.attention_heads, dropout=cfg.attention_dropout, self_attention=True)

    def build_encoder_attention(self, embed_dim: int, cfg: TransformerConfig) -> MultiheadAttention:
        return BertAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            kdim=cfg.encoder.embed_dim,
            vdim=cfg.encoder.embed_dim,
            dropout=cfg.attention_dropout,
            encoder_decoder_attention=True,
        )


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
    return nn.ModuleList(_as_bert(_EncoderLayer(config), sizes.layer_norm_eps) for _ in range(sizes.layers))


def decoder_layers(sizes: LayerSizes, encoder_dim: int) -> nn.ModuleList:
    """``TransformerDecoderLayer`` modules of fairseq with BERT's initialisation; they compute no attention weights.

    ``encoder_dim`` is the width of the encoder states that cross-attention reads.
    """
    config = _fairseq_config(sizes, encoder_dim)
    layers = nn.ModuleList(_as_bert(_DecoderLayer(config), sizes.layer_norm_eps) for _ in range(sizes.layers))
    for layer in layers:
        layer.need_attn = False  # type: ignore[assignment]
    return layers
