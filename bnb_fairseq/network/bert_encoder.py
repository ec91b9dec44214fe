"""BERT as an encoder, of one sentence or of two segments."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..modules.inference import InferenceStack
from ..modules.layers import BertEmbeddings, LayerSizes
from .options import BuildLayers, SymbolTable

EncoderOut = dict[str, list[Tensor]]


def segment_types(tokens: Tensor, separator: int, padding: Tensor) -> Tensor:
    """Segments of ``[CLS] A [SEP] B [SEP]`` as BERT numbers them (Devlin et al. 2019).

    ``tokens`` are B x S ids, ``padding`` is B x S, True at padding. Returns B x S, int64: 0 up to the first [SEP] and
    at padding, else 1.
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
        keep_padding: compute the states of padding in inference, too.
    """

    def __init__(
        self,
        dictionary: SymbolTable,
        sizes: LayerSizes,
        positions: int,
        build_layers: BuildLayers,
        keep_padding: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # in a subclass, super() may be an encoder of fairseq
        self.dictionary: Any = dictionary
        self.pad, self.separator = dictionary.pad(), dictionary.eos()
        self.sizes = sizes
        self.embeddings = BertEmbeddings(len(dictionary), positions, sizes)
        self.layers = build_layers(sizes)
        self.inference: InferenceStack | None = None
        self._positions = positions
        self._keep_padding = keep_padding

    def make_generation_fast_(self, retain_dropout: bool = False, **_: Any) -> None:
        """Switch to layers for inference, unless ``--retain-dropout`` is set; fairseq's commands call this."""
        if not retain_dropout:
            self.load_layers([layer.state_dict() for layer in self.layers])
            self.layers = nn.ModuleList()

    def load_layers(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Switch to layers for inference, with each layer's weights by fairseq's names."""
        sizes = self.sizes
        self.inference = InferenceStack(weights, sizes.attention_heads, sizes.layer_norm_eps, self._keep_padding)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, return_all_hiddens: bool = False) -> EncoderOut:
        """Encode source sentences.

        Args:
            src_tokens: B x S, right-padded ids; those after the first [SEP] are the second segment.
            src_lengths: B, true lengths; unused, since padding shows them.
            return_all_hiddens: keep the states after the embeddings and after every layer.

        Returns:
            ``encoder_out`` [S x B x D], ``encoder_padding_mask`` [B x S, True at padding] and ``encoder_states`` (S x B
            x D each, empty without ``return_all_hiddens``).

        Raises:
            ValueError: with ``return_all_hiddens`` after ``make_generation_fast_``.
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
        """The output for the sentences ``new_order``, which may repeat: fairseq's beam search calls this."""
        batch_axis = {"encoder_out": 1, "encoder_padding_mask": 0, "encoder_states": 1}
        return {
            name: [tensor.index_select(batch_axis[name], new_order) for tensor in tensors]
            for name, tensors in encoder_out.items()
        }

    def max_positions(self) -> int:
        """Largest source length."""
        return self._positions
