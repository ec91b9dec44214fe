"""The non-autoregressive decoder: BERT layers over a canvas, with cross-attention and BERT's masked-word head."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.canvas import Canvas
from ..modules.inference import SourceMemory
from ..modules.layers import EMBEDDING_SCALE, LayerSizes, init_linear
from .bert_decoder import BertDecoder
from .options import BuildLayers, SymbolTable


class NarDecoder(BertDecoder):
    """Fills a canvas with a state at every position, in one pass.

    Input: dropout(LayerNorm(gelu(W_d z) + position + type 0 [+ E(canvas token)])). Positions that upsampling added
    carry E([MASK]) in place of gelu(W_d z).

    The latent's projection starts at the scale of the token embeddings. Encoder states are far larger, and would drown
    positions and revealed tokens.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        latent_size: Z; equal to D with ``project_latent`` off.
        positions: largest canvas length.
        build_layers: see ``BertDecoder``.
        extra_symbols: rows after the dictionary's in the token table (1 for a new blank).
        project_latent: apply gelu(W_d z); off, z is an encoder state and is multiplied by a learned number.
        tied: see ``BertDecoder``.
    """

    def __init__(
        self,
        dictionary: SymbolTable,
        sizes: LayerSizes,
        latent_size: int,
        positions: int,
        build_layers: BuildLayers,
        extra_symbols: int = 0,
        project_latent: bool = True,
        tied: bool = True,
    ) -> None:
        super().__init__(dictionary, sizes, positions, build_layers, extra_symbols, tied)
        self.mask = dictionary.mask()
        self.latent_projection = nn.Linear(latent_size, sizes.embed_dim) if project_latent else None
        if self.latent_projection is not None:
            init_linear(self.latent_projection, gain=2 * EMBEDDING_SCALE)  # gelu halves small values
        else:
            self.latent_scale = nn.Parameter(torch.full((1,), EMBEDDING_SCALE))

    def canvas_content(self, canvas: Canvas, canvas_tokens: Tensor | None) -> Tensor:
        """B x A x D: content of the canvas before position and type are added; arguments as in ``forward``."""
        content = canvas.latent
        if self.latent_projection is not None:
            content = F.gelu(self.latent_projection(content))
        else:
            content = self.latent_scale * content
        if canvas.added is not None:
            added = canvas.added.unsqueeze(-1)
            filler = self.embeddings.tokens.weight[self.mask] if canvas_tokens is None else content.new_zeros(())
            content = torch.where(added, filler, content)
        if canvas_tokens is not None:
            content = content + self.embeddings.tokens(canvas_tokens)
        return content

    def forward(
        self,
        canvas: Canvas,
        encoder_states: Tensor,
        encoder_padding: Tensor,
        canvas_tokens: Tensor | None = None,
        memory: SourceMemory | None = None,
    ) -> Tensor:
        """States of the last layer, A x B x D; every position sees every other.

        Args:
            canvas: the canvas, B x A.
            encoder_states: S x B x D.
            encoder_padding: B x S, True at padding.
            canvas_tokens: B x A, revealed ids and [MASK] elsewhere; None: the decoder reads no tokens.
            memory: from ``read_source``; None: computed here.

        Returns:
            A x B x D.
        """
        for states in self.layer_states(canvas, encoder_states, encoder_padding, canvas_tokens, memory):  # noqa: B007
            pass  # free a layer's states once the next layer has read them
        return states

    def layer_states(
        self,
        canvas: Canvas,
        encoder_states: Tensor,
        encoder_padding: Tensor,
        canvas_tokens: Tensor | None = None,
        memory: SourceMemory | None = None,
    ) -> Iterator[Tensor]:
        """States of every layer, A x B x D; in inference of the last one only. Arguments as in ``forward``."""
        states = self.embeddings(self.canvas_content(canvas, canvas_tokens))
        if self.inference is not None:
            memory = memory or self.inference.read(encoder_states, encoder_padding)
            states, _ = self.inference(states, canvas.padding, memory)
            yield states.transpose(0, 1)
            return
        states = states.transpose(0, 1)  # B x A x D -> A x B x D
        for layer in self.layers:
            states, _, _ = layer(
                states, encoder_states, encoder_padding, self_attn_padding_mask=canvas.padding, need_attn=False
            )
            yield states

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Add what checkpoints of version 0.1.0 lack: they used encoder states unscaled."""
        if self.latent_projection is None:
            state_dict.setdefault(f"{name}.latent_scale", torch.ones(1))
        return state_dict

    def read_source(self, encoder_states: Tensor, encoder_padding: Tensor) -> SourceMemory | None:
        """Keys and values of cross-attention, which all passes share; None before ``make_generation_fast_``.

        ``encoder_states`` are S x B x D, ``encoder_padding`` is B x S, True at padding.
        """
        return None if self.inference is None else self.inference.read(encoder_states, encoder_padding)

    def source_weights(self, canvas: Canvas, canvas_tokens: Tensor | None, memory: SourceMemory) -> Tensor:
        """Weights of cross-attention in inference, B x A x S, mean over heads and layers; see ``forward``."""
        assert self.inference is not None
        states = self.embeddings(self.canvas_content(canvas, canvas_tokens))
        return self.inference.source_weights(states, canvas.padding, memory)
