"""BERT as an encoder, of one sentence or of two segments."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..modules.inference import InferenceStack
from ..modules.layers import BertEmbeddings, LayerSizes
from .options import BuildLayers, SymbolTable

EncoderOut = dict[str, list[Tensor]]


def segment_types(tokens: Tensor, separator: int, padding: Tensor) -> Tensor:
    """Tell the two segments of ``[CLS] A [SEP] B [SEP]`` apart, as BERT was trained with (Devlin et al. 2019).

    Args:
        tokens: B x S ids.
        separator: id of [SEP].
        padding: B x S, True at padding.

    Returns:
        B x S, int64: 0 to the first [SEP] and at padding, 1 elsewhere.
    """
    ends = tokens.eq(separator).long()
    return ((ends.cumsum(1) - ends > 0) & ~padding).long()


class BertEncoder(nn.Module):
    """BERT's embeddings and layers; the output has fairseq's form, so that autoregressive decoders can read it.

    Args:
        dictionary: the source dictionary.
        sizes: sizes of the layers.
        positions: largest source length.
        build_layers: builds the layers.
        keep_padding: compute the states of padding too when the layers only infer, because something reads them.
    """

    def __init__(
        self,
        dictionary: SymbolTable,
        sizes: LayerSizes,
        positions: int,
        build_layers: BuildLayers,
        keep_padding: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # an encoder of fairseq's may stand behind this class
        self.dictionary: Any = dictionary
        self.pad, self.separator = dictionary.pad(), dictionary.eos()
        self.sizes = sizes
        self.embeddings = BertEmbeddings(len(dictionary), positions, sizes)
        self.layers = build_layers(sizes)
        self.inference: InferenceStack | None = None
        self._positions = positions
        self._keep_padding = keep_padding

    def make_generation_fast_(self, retain_dropout: bool = False, **_: Any) -> None:
        """Exchange the layers for ones that only infer; fairseq's commands call this before they translate.

        Args:
            retain_dropout: fairseq's ``--retain-dropout``: everything stays as it is.
        """
        if not retain_dropout:
            self.load_layers([layer.state_dict() for layer in self.layers])
            self.layers = nn.ModuleList()

    def load_layers(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Take layers that only infer: for each, its weights by their names in fairseq's layer."""
        sizes = self.sizes
        self.inference = InferenceStack(weights, sizes.attention_heads, sizes.layer_norm_eps, self._keep_padding)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, return_all_hiddens: bool = False) -> EncoderOut:
        """Encode source sentences.

        Args:
            src_tokens: B x S, right-padded ids; what follows the first [SEP] is the second segment.
            src_lengths: B, true lengths; not needed here, the padding tells.
            return_all_hiddens: keep the state after the embeddings and after every layer.

        Returns:
            ``encoder_out`` [S x B x D], ``encoder_padding_mask`` [B x S, True at padding] and ``encoder_states``
            (S x B x D each, empty unless asked for).

        Raises:
            ValueError: if the states of all layers are asked for after ``make_generation_fast_``.
        """
        padding = src_tokens.eq(self.pad)
        types = segment_types(src_tokens, self.separator, padding)
        states = self.embeddings(self.embeddings.tokens(src_tokens), types=types)
        if self.inference is not None:
            if return_all_hiddens:
                raise ValueError("return_all_hiddens must be False after make_generation_fast_, but is True")
            states, _ = self.inference(states, padding)
        states = states.transpose(0, 1)  # B x S x D -> S x B x D
        hidden = [states] if return_all_hiddens else []
        for layer in self.layers:
            states = layer(states, encoder_padding_mask=padding)
            if return_all_hiddens:
                hidden.append(states)
        return {"encoder_out": [states], "encoder_padding_mask": [padding], "encoder_states": hidden}

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """Select and repeat sentences, for beam search.

        Args:
            encoder_out: output of ``forward``.
            new_order: indices of sentences.

        Returns:
            The same structure in the new order.
        """
        batch_axis = {"encoder_out": 1, "encoder_padding_mask": 0, "encoder_states": 1}
        return {
            name: [tensor.index_select(batch_axis[name], new_order) for tensor in tensors]
            for name, tensors in encoder_out.items()
        }

    def max_positions(self) -> int:
        """Return the largest source length."""
        return self._positions
