"""The autoregressive decoder: BERT layers that see only what lies to their left, with cross-attention."""

from typing import Any

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor

from .bert_decoder import BertDecoder
from .bert_encoder import EncoderOut

IncrementalState = dict[str, dict[str, Tensor | None]]
DecoderOut = tuple[Tensor, dict[str, Any]]


class CausalDecoder(BertDecoder, FairseqIncrementalDecoder):
    """Writes word by word; with an incremental state, keys and values of earlier words are kept.

    Input: dropout(LayerNorm(E(previous token) + position + type 0)), as BERT's. Arguments are ``BertDecoder``'s.
    """

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        features_only: bool = False,
    ) -> DecoderOut:
        """Score the next token at every position, or only at the last one.

        Args:
            prev_output_tokens: B x T, ids of [CLS] and what was written so far, padded on the right.
            encoder_out: the encoder's output.
            incremental_state: keys and values of the T - 1 earlier positions, filled here; None: nothing is kept, all
                positions are computed.
            features_only: return states instead of logits.

        Returns:
            Logits, B x T x V (or states, B x T x D), T = 1 with an incremental state; and ``attn``, which is None.
        """
        start = 0 if incremental_state is None else prev_output_tokens.size(1) - 1
        tokens = prev_output_tokens[:, start:]
        states = self.embeddings(self.embeddings.tokens(tokens), start).transpose(0, 1)  # B x T x D -> T x B x D
        future = None if incremental_state is not None else future_mask(tokens.size(1), tokens.device)
        for layer in self.layers:
            states, _, _ = layer(
                states,
                encoder_out["encoder_out"][0],
                encoder_out["encoder_padding_mask"][0],
                incremental_state,
                self_attn_mask=future,
            )
        states = states.transpose(0, 1)  # T x B x D -> B x T x D
        return states if features_only else self.output_layer(states), {"attn": None}


def future_mask(length: int, device: torch.device) -> Tensor:
    """Mark what a position must not see.

    Args:
        length: T.
        device: where.

    Returns:
        T x T, True where the column's position lies to the right of the row's.
    """
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
