"""The autoregressive decoder: BERT layers with a causal mask and cross-attention."""

from functools import partial
from typing import Any, NamedTuple

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..modules.inference import InferenceStack, KeyValues, SourceMemory
from ..modules.layers import LayerSizes
from ..network.bert_decoder import BertDecoder
from ..network.bert_encoder import EncoderOut
from .fairseq_layers import decoder_layers

IncrementalState = dict[str, dict[str, Tensor | None]]
DecoderOut = tuple[Tensor, dict[str, Any]]
WRITTEN = "written"


class Written(NamedTuple):
    """State of incremental decoding in inference.

    Attributes:
        memory: the source as cross-attention reads it.
        past: keys and values of earlier positions, one pair for each layer; None before the first step.
    """

    memory: SourceMemory
    past: list[KeyValues] | None


class CausalDecoder(BertDecoder, FairseqIncrementalDecoder):
    """Predicts token by token; an incremental state keeps keys and values of earlier positions.

    Input: dropout(LayerNorm(E(previous token) + position + type 0)), as BERT's.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        encoder_dim: width of the encoder states.
        positions: largest number of positions.
        tied: see ``BertDecoder``.
    """

    # untyped members of fairseq's decoders
    init_incremental_state: Any
    get_incremental_state: Any
    set_incremental_state: Any
    get_normalized_probs: Any
    reorder_incremental_state_scripting: Any

    def __init__(
        self, dictionary: BnbDictionary, sizes: LayerSizes, encoder_dim: int, positions: int, tied: bool = True
    ) -> None:
        BertDecoder.__init__(
            self, dictionary, sizes, positions, partial(decoder_layers, encoder_dim=encoder_dim), tied=tied
        )
        # The constructor of fairseq's decoder would reset the module; this sets the rest of its attributes.
        self.onnx_trace, self.adaptive_softmax = False, None
        self.init_incremental_state()

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        features_only: bool = False,
    ) -> DecoderOut:
        """Logits of the next token at every position; with an incremental state at the last one only.

        Args:
            prev_output_tokens: B x T ids, [CLS] first, padded on the right.
            encoder_out: the encoder's output.
            incremental_state: keys and values of the T - 1 earlier positions, extended here; None: compute all
                positions.
            features_only: return states instead of logits.

        Returns:
            Logits, B x T x V (or states, B x T x D), T = 1 with an incremental state; and ``attn``, which is None.
        """
        states, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return states if features_only else self.output_layer(states), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
    ) -> DecoderOut:
        """As ``forward`` with ``features_only``."""
        start = 0 if incremental_state is None else prev_output_tokens.size(1) - 1
        tokens = prev_output_tokens[:, start:]
        states = self.embeddings(self.embeddings.tokens(tokens), start)
        source, source_padding = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
        if self.inference is not None:
            return self._infer(self.inference, states, source, source_padding, incremental_state), {"attn": None}
        states = states.transpose(0, 1)  # B x T x D -> T x B x D
        future = None if incremental_state is not None else future_mask(tokens.size(1), tokens.device)
        for layer in self.layers:
            states, _, _ = layer(states, source, source_padding, incremental_state, self_attn_mask=future)
        return states.transpose(0, 1), {"attn": None}  # T x B x D -> B x T x D

    def _infer(
        self,
        stack: InferenceStack,
        states: Tensor,
        source: Tensor,
        source_padding: Tensor,
        incremental_state: IncrementalState | None,
    ) -> Tensor:
        """Run the layers for inference: B x T x D -> B x T x D."""
        if incremental_state is None:
            return stack(states, None, stack.read(source, source_padding), causal=True)[0]
        written: Written = self.get_incremental_state(incremental_state, WRITTEN) or Written(
            stack.read(source, source_padding), None
        )
        states, kept = stack(states, None, *written, keep=True)
        self.set_incremental_state(incremental_state, WRITTEN, Written(written.memory, kept))
        return states

    def reorder_incremental_state(self, incremental_state: IncrementalState, new_order: Tensor) -> None:
        """Reorder the keys and values kept for inference, as beam search asks; fairseq reorders those of its layers.

        Args:
            incremental_state: the state, changed in place.
            new_order: for each hypothesis of the next step the one that it continues, of the same sentence: the source
                changes only when finished sentences are dropped.
        """
        written: Written | None = self.get_incremental_state(incremental_state, WRITTEN)
        if written is None or written.past is None:
            return
        memory = written.memory
        if len(new_order) != len(memory.layers[0].keys):
            memory = memory.selected(new_order)
        past = [layer.selected(new_order) for layer in written.past]
        self.set_incremental_state(incremental_state, WRITTEN, Written(memory, past))


def future_mask(length: int, device: torch.device) -> Tensor:
    """T x T, True where the column's position lies to the right of the row's."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
