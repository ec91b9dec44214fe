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
    """Reads a canvas and writes a state for every position, in one pass.

    Input: dropout(LayerNorm(gelu(W_d z) + position + type 0 [+ E(canvas token)])). Positions that upsampling added
    carry E([MASK]) in place of gelu(W_d z).

    What comes of the latent starts at the scale of the token embeddings: encoder states are far larger, and beside
    them neither the position nor a revealed token would be seen.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        latent_size: Z; equal to D with ``project_latent`` off.
        positions: largest canvas length.
        build_layers: see ``BertDecoder``.
        extra_symbols: rows after the dictionary's in the token table (1 for a blank of its own).
        project_latent: apply gelu(W_d z); off, z is an encoder state and is multiplied by a learned number.
        tied: off, the output layer has a matrix of its own.
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
        """Compute what the canvas positions carry before position and type are added.

        Args:
            canvas: the canvas, B x A.
            canvas_tokens: B x A ids that the decoder may read ([MASK] where nothing is revealed), or None.

        Returns:
            B x A x D.
        """
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
        """Fill the canvas with states; every position sees every other.

        Args:
            canvas: the canvas, B x A.
            encoder_states: S x B x D.
            encoder_padding: B x S, True at padding.
            canvas_tokens: B x A ids, or None for a decoder that reads no tokens.
            memory: from ``read_source``: the encoder states as the layers read them.

        Returns:
            A x B x D.
        """
        for states in self.layer_states(canvas, encoder_states, encoder_padding, canvas_tokens, memory):  # noqa: B007
            pass  # a layer's states are let go once the next layer has read them
        return states

    def layer_states(
        self,
        canvas: Canvas,
        encoder_states: Tensor,
        encoder_padding: Tensor,
        canvas_tokens: Tensor | None = None,
        memory: SourceMemory | None = None,
    ) -> Iterator[Tensor]:
        """Fill the canvas layer by layer, given what ``forward`` is given.

        States are A x B x D, one tensor for every layer; after ``make_generation_fast_`` for the last one only.
        """
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
        """Add what checkpoints of version 0.1.0 lack: they used encoder states as they are."""
        if self.latent_projection is None:
            state_dict.setdefault(f"{name}.latent_scale", torch.ones(1))
        return state_dict

    def read_source(self, encoder_states: Tensor, encoder_padding: Tensor) -> SourceMemory | None:
        """Compute what all passes over a source share.

        Args:
            encoder_states: S x B x D.
            encoder_padding: B x S, True at padding.

        Returns:
            Keys and values of cross-attention; None before ``make_generation_fast_``, where layers keep none.
        """
        return None if self.inference is None else self.inference.read(encoder_states, encoder_padding)

    def source_weights(self, canvas: Canvas, canvas_tokens: Tensor | None, memory: SourceMemory) -> Tensor:
        """Return the weights of cross-attention, once prepared for inference.

        Args:
            canvas: the canvas, B x A.
            canvas_tokens: B x A ids, or None for a decoder that reads no tokens.
            memory: from ``read_source``.

        Returns:
            B x A x S, mean over heads and layers.
        """
        assert self.inference is not None
        states = self.embeddings(self.canvas_content(canvas, canvas_tokens))
        return self.inference.source_weights(states, canvas.padding, memory)
