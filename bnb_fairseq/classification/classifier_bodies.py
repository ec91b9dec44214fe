"""The part of a classifier that reads the text: an encoder alone, or a whole ``bnb_transformer``."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..data.dictionary import BnbDictionary
from ..models.bnb_transformer import BnbTransformer
from ..models.config import layer_sizes
from ..models.fairseq_layers import encoder_layers
from ..models.freezing import freeze
from ..network.bert_encoder import BertEncoder
from ..network.length_control import Ctc
from .classifier_config import BnbClassifierConfig


class EncoderBody(nn.Module):
    """BERT, whose state of [CLS] represents the text; ``cfg`` must have every size set."""

    def __init__(self, cfg: BnbClassifierConfig, dictionary: BnbDictionary) -> None:
        super().__init__()
        sizes = layer_sizes(cfg, "encoder")
        self.encoder = BertEncoder(dictionary, sizes, int(cfg.encoder_positions or 0), encoder_layers)
        self.output_size = sizes.embed_dim
        freeze(self, cfg.freeze)

    @property
    def pretrained_part(self) -> nn.Module:
        """The module whose ``encoder`` starts from a BERT or a checkpoint."""
        return self

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> Tensor:
        """Read texts: B x S ids and their B lengths -> B x D."""
        states: Tensor = self.encoder(src_tokens, src_lengths)["encoder_out"][0]  # S x B x D
        return states[0]

    def longest(self) -> int:
        """The longest text in tokens."""
        return self.encoder.max_positions()

    def freeze_unused(self) -> None:
        """Freeze parameters without effect on the output; there are none."""


class DecoderBody(nn.Module):
    """A ``bnb_transformer``: the mean of its decoder's states on an all-[MASK] canvas represents the text."""

    def __init__(self, cfg: BnbClassifierConfig, dictionary: BnbDictionary) -> None:
        super().__init__()
        self.network = BnbTransformer(cfg, dictionary, dictionary)
        self.output_size = self.network.decoder.sizes.embed_dim
        adds_masks = isinstance(self.network.control, Ctc) and self.network.control.mask_added
        self._reads_tokens = cfg.canvas_tokens or adds_masks

    @property
    def pretrained_part(self) -> nn.Module:
        """The module whose ``encoder`` and ``decoder`` start from BERTs or a checkpoint."""
        return self.network

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> Tensor:
        """Read texts and average the decoder's states: B x S ids and their B lengths -> B x D."""
        encoded = self.network.encode(src_tokens, src_lengths)
        canvas = self.network.canvas(encoded)
        states = self.network.decode(encoded, canvas)  # A x B x D
        outside = canvas.padding.transpose(0, 1).unsqueeze(-1)  # B x A -> A x B x 1
        total = states.float().masked_fill(outside, 0.0).sum(dim=0)
        return (total / (~outside).sum(dim=0).clamp(min=1)).to(states.dtype)

    def longest(self) -> int:
        """The longest text in tokens; its canvas must fit the decoder's positions."""
        return self.network.max_positions()[0]

    def freeze_unused(self) -> None:
        """Freeze parameters without effect on the output, for whose gradients several GPUs would wait."""
        unused: list[nn.Module] = [self.network.decoder.head]
        if not self.network.control.has_alignments:
            unused.append(self.network.length_head)
        if not self._reads_tokens:
            unused.append(self.network.decoder.embeddings.tokens)
        for module in unused:
            module.requires_grad_(False)


BODIES: Mapping[str, type[EncoderBody] | type[DecoderBody]] = {"encoder": EncoderBody, "decoder": DecoderBody}
