"""The network as graphs compute it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.canvas import padding_mask
from ..network.bert_encoder import segment_types
from ..network.options import NetworkOptions, SymbolTable
from .canvases import ClassifiedCanvas, EvenCanvas, FixedCanvas, SpreadCanvas
from .layers import Affine, Norm, Stack, Weights


class StaticNetwork(nn.Module):
    """The network in one pass, or as encoder and decoder of a model that refines, and the best symbols of positions.

    Args:
        options: of the network.
        source: the source vocabulary.
        target: the target vocabulary.
        weights: of a ``bnb_transformer``, float32, by their names in its checkpoint.
        symbols: k, symbols of each position in the output, including the blank.

    Attributes:
        blank: id of the symbol that stands for no text: the blank, or [PAD] under length classification.
        reads_tokens: the model refines: its decoder reads the tokens on the canvas, and a graph of one pass is none.
    """

    def __init__(
        self,
        options: NetworkOptions,
        source: SymbolTable,
        target: SymbolTable,
        weights: Weights,
        symbols: int = 1,
    ) -> None:
        super().__init__()
        self.options, self.symbols = options, symbols
        self.source_pad, self.separator = source.pad(), source.eos()
        blanks = {"new": len(target), "pad": target.pad(), "mask": target.mask()}
        self.uses_ctc, self.reads_tokens = options.length_control == "ctc", options.canvas_tokens
        self.blank = blanks[options.ctc_blank] if self.uses_ctc else target.pad()
        self.encoder = Stack(options, weights, "encoder")
        self.decoder = Stack(options, weights, "decoder")
        self.latent = Affine(weights, "latent.projection") if options.latent_size else None
        self.latent_projection = Affine(weights, "decoder.latent_projection") if options.latent_size else None
        self.latent_scale = 1.0 if options.latent_size else float(weights["decoder.latent_scale"])
        self.register_buffer("mask_row", weights["decoder.embeddings.tokens.weight"][target.mask()].clone())
        self.mask_row: Tensor
        self.transform = Affine(weights, "decoder.head.transform")
        self.head_norm = Norm(weights, "decoder.head.layer_norm", options.decoder.layer_norm_eps)
        self.register_buffer("output_bias", weights["decoder.head.bias"])
        self.output_bias: Tensor
        self.output_weight = weights["decoder.head.weight"] if options.untie_output else self.decoder.tokens
        # A graph of a tied output layer holds the table once, turned: the decoder reads its columns.
        turned = self.output_weight.T.contiguous() if self.reads_tokens and not options.untie_output else None
        self.register_buffer("turned", turned)
        self.turned: Tensor | None
        self.canvas: FixedCanvas | SpreadCanvas | EvenCanvas | ClassifiedCanvas
        if not self.uses_ctc:
            self.canvas = ClassifiedCanvas(options, weights)
        elif options.ctc_canvas_length:
            self.canvas = FixedCanvas(options.ctc_canvas_length)
        else:
            self.canvas = EvenCanvas(options) if options.ctc_extra else SpreadCanvas(options)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, asked: Tensor, candidates: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Encode, and decode without tokens: arguments of both; outputs of ``decode``, canvas lengths the fourth."""
        states, padding, content, canvas_padding, lengths = self.encode(src_tokens, src_lengths)
        encoded = states, padding, content, canvas_padding
        symbols, scores, blank_scores, asked_scores = self.decode(*encoded, None, asked, candidates)
        return symbols, scores, blank_scores, lengths, asked_scores

    def encode(self, src_tokens: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run the encoder and lay out the canvas: all that passes have in common.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.

        Returns:
            Encoder states, B x S x D; their padding, B x S, True at padding; content of the canvas positions without
            tokens, B x A x D; the canvas' padding, B x A; and canvas lengths, B.
        """
        if fixed := self.options.ctc_canvas_length:
            src_tokens = F.pad(src_tokens, (0, fixed - src_tokens.size(1)), value=self.source_pad)
        padding = src_tokens.eq(self.source_pad)
        types = segment_types(src_tokens, self.separator, padding).unsqueeze(2).float()
        content = F.embedding(src_tokens, self.encoder.tokens) + types * self.encoder.second_segment
        states = self.encoder(content, padding)
        latent = states if self.latent is None else self.latent(states)
        spread, lengths, added = self.canvas(latent, src_lengths, states, padding)
        canvas_padding = padding_mask(lengths, spread.size(1))
        return states, padding, self._content(spread, added), canvas_padding, lengths

    def decode(
        self,
        states: Tensor,
        padding: Tensor,
        content: Tensor,
        canvas_padding: Tensor,
        canvas_tokens: Tensor | None,
        asked: Tensor,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Run the decoder once.

        Args:
            states: B x S x D, of ``encode``, as the next three.
            padding: B x S.
            content: B x A x D.
            canvas_padding: B x A.
            canvas_tokens: B x A ids that the decoder reads, [MASK] where it predicts; None: it reads none.
            asked: B x n symbols to score at every position: ids, or places in ``candidates``.
            candidates: C ids, the blank among them, the only symbols that are scored; None: all.

        Returns:
            The best symbols of each position, B x A x k, the best first; their log-probabilities; the blank's, B x A;
            and log-probabilities of the asked symbols, B x A x n.
        """
        if canvas_tokens is not None:
            content = content + self._embedded(canvas_tokens, candidates is None)
        filled = self.decoder(content, canvas_padding, states, padding)
        scores = self._log_probabilities(filled, candidates)
        best, symbols = scores.topk(self.symbols, dim=-1)
        if candidates is None:
            blank_scores = scores[:, :, self.blank]
        else:
            symbols = candidates[symbols]
            place = (candidates == self.blank).long().argmax().unsqueeze(0)
            blank_scores = scores.index_select(2, place).squeeze(2)
        asked_scores = scores.gather(2, asked.unsqueeze(1).expand(-1, scores.size(1), -1))
        return symbols, best, blank_scores, asked_scores

    def _content(self, spread: Tensor, added: Tensor | None) -> Tensor:
        """Content of canvas positions: latent B x A x Z -> B x A x D; see ``NarDecoder.canvas_content``."""
        if self.latent_projection is None:
            content = spread * self.latent_scale
        else:
            content = F.gelu(self.latent_projection(spread))
        if added is not None:  # tokens, [MASK] among them, are added by ``decode``
            content = torch.where(added, content.new_zeros(()) if self.reads_tokens else self.mask_row, content)
        return content

    def _embedded(self, canvas_tokens: Tensor, scores_all: bool) -> Tensor:
        """Rows of the decoder's token table, B x A -> B x A x D; columns of the output layer, if it is at hand."""
        if scores_all and self.turned is not None:
            return self.turned.index_select(1, canvas_tokens.flatten()).T.reshape(*canvas_tokens.shape, -1)
        return F.embedding(canvas_tokens, self.decoder.tokens)

    def _log_probabilities(self, states: Tensor, candidates: Tensor | None) -> Tensor:
        """Log-probabilities of the vocabulary, B x A x D -> B x A x V, or of the candidates, B x A x C."""
        states = self.head_norm(F.gelu(self.transform(states)))
        weight, bias = self.output_weight, self.output_bias
        if candidates is not None:
            weight, bias = F.embedding(candidates, weight), bias[candidates]
        turned = weight.T if candidates is not None or self.turned is None else self.turned
        return (states @ turned + bias).log_softmax(dim=-1)


class Encoding(nn.Module):
    """``StaticNetwork.encode`` as a network of its own."""

    def __init__(self, network: StaticNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> tuple[Tensor, ...]:
        """See ``StaticNetwork.encode``."""
        return self.network.encode(src_tokens, src_lengths)


class Decoding(nn.Module):
    """``StaticNetwork.decode`` as a network of its own."""

    def __init__(self, network: StaticNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        states: Tensor,
        padding: Tensor,
        content: Tensor,
        canvas_padding: Tensor,
        canvas_tokens: Tensor,
        asked: Tensor,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """See ``StaticNetwork.decode``."""
        return self.network.decode(states, padding, content, canvas_padding, canvas_tokens, asked, candidates)
