"""The autoregressive decoder: BERT layers that see only what lies to their left, with cross-attention."""

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
    """What incremental decoding keeps for inference.

    Attributes:
        memory: the source as cross-attention reads it.
        past: for each layer the keys and values of what was written; None before the first step.
    """

    memory: SourceMemory
    past: list[KeyValues] | None


class CausalDecoder(BertDecoder, FairseqIncrementalDecoder):
    """Writes word by word; with an incremental state, keys and values of earlier words are kept.

    Input: dropout(LayerNorm(E(previous token) + position + type 0)), as BERT's.

    Args:
        dictionary: the target dictionary.
        sizes: sizes of the layers.
        encoder_dim: width of the encoder states.
        positions: largest number of positions.
        tied: off, the output layer has a matrix of its own.
    """

    # fairseq's, which have no types
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
        # The constructor of fairseq's decoder would empty the module again; this is the rest of what it sets.
        self.onnx_trace, self.adaptive_softmax = False, None
        self.init_incremental_state()

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
        states, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return states if features_only else self.output_layer(states), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
    ) -> DecoderOut:
        """Compute what the output layer reads.

        Args:
            prev_output_tokens: as in ``forward``.
            encoder_out: as in ``forward``.
            incremental_state: as in ``forward``.

        Returns:
            States, B x T x D; and ``attn``, which is None.
        """
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
        """Follow the beam search in what inference has kept; fairseq's layers do so by themselves.

        Args:
            incremental_state: the state, changed in place.
            new_order: for each hypothesis that goes on, the one that it continues; of the same sentence, so that what
                it reads of the source changes only when sentences are finished and left out.
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
    """Mark what a position must not see.

    Args:
        length: T.
        device: where.

    Returns:
        T x T, True where the column's position lies to the right of the row's.
    """
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
