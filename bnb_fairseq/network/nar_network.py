"""The non-autoregressive network: encoder, latent, canvas and decoder."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.canvas import Canvas, Revealed
from ..modules.latent import Latent, Posterior
from ..modules.lazy_logits import LazyLogits
from ..modules.length import GaussianLengthConverter, LengthHead
from .bert_encoder import BertEncoder
from .encoded import Encoded
from .length_control import Ctc, FixedCtc, LengthControl, PredictedLength
from .nar_decoder import NarDecoder
from .options import BuildLayers, NetworkOptions, SymbolTable


class NarOutput(NamedTuple):
    """Output of a forward pass for the criterion.

    Attributes:
        prediction: logits, A x B x V; or N x V, in row-major order of B x A, if only N positions are predicted.
        canvas_lengths: B, true canvas lengths.
        length_logits: B x (2N + 1); None without length classification.
        posterior: of a variational latent, else None.
        revealed: tokens shown and positions predicted; None: no token is shown, and all positions are predicted.
        inner_states: of the lower decoder layers; empty unless requested.
    """

    prediction: LazyLogits
    canvas_lengths: Tensor
    length_logits: Tensor | None
    posterior: Posterior | None = None
    revealed: Revealed | None = None
    inner_states: Sequence[Tensor] = ()

    @property
    def logits(self) -> Tensor:
        """The whole prediction, computed on each access."""
        return self.prediction.whole()


# Chooses the tokens to show on a canvas; may request the logits, A x B x V, of a pass without tokens.
Reveal = Callable[[Canvas, Callable[[], LazyLogits]], Revealed]


class NarNetwork(nn.Module):
    """BERT-NAR-BERT: encoder, latent, canvas and decoder (Sohrab et al. 2024, doi 10.1109/ACCESS.2023.3346952).

    Args:
        options: the network's options.
        source: the source vocabulary.
        target: the target vocabulary.
        encoder_layers: builds the encoder's layers.
        decoder_layers: builds the decoder's layers.

    Attributes:
        control: the length control.
        mask: id of [MASK] in the target vocabulary.
    """

    def __init__(
        self,
        options: NetworkOptions,
        source: SymbolTable,
        target: SymbolTable,
        encoder_layers: BuildLayers,
        decoder_layers: BuildLayers,
    ) -> None:
        super().__init__()
        self.options = options
        self.source_pad, self.mask = source.pad(), target.mask()
        uses_ctc, width = options.length_control == "ctc", options.encoder.embed_dim
        self.encoder = BertEncoder(
            source, options.encoder, options.encoder_positions, encoder_layers, options.ctc_canvas_length > 0
        )
        self.latent = Latent(width, options.latent_size, options.latent_dropout, options.vae)
        self.latent_dropout = nn.Dropout(options.latent_dropout)
        self.decoder = NarDecoder(
            target,
            options.decoder,
            self.latent.output_size,
            options.decoder_positions,
            decoder_layers,
            extra_symbols=int(uses_ctc and options.ctc_blank == "new"),
            project_latent=options.latent_size > 0,
            tied=not options.untie_output,
        )
        if not uses_ctc:
            self.length_head = LengthHead(width, options.length_range)
            self.length_converter = GaussianLengthConverter()
        self.control = self._length_control(target)

    def _length_control(self, target: SymbolTable) -> LengthControl:
        options = self.options
        if options.length_control != "ctc":
            return PredictedLength(self.length_head, self.length_converter, target.pad(), options.decoder_positions)
        blank = {"new": len(target), "pad": target.pad(), "mask": target.mask()}[options.ctc_blank]
        if options.ctc_canvas_length:
            return FixedCtc(blank, options.ctc_canvas_length)
        rule = options.ctc_upsample, options.ctc_extra
        return Ctc(blank, *rule, options.ctc_canvas == "mask", options.decoder_positions)

    def encode(self, src_tokens: Tensor, src_lengths: Tensor) -> Encoded:
        """Encode source sentences; S becomes the canvas length if that is fixed.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.

        Returns:
            The encoded source.

        Raises:
            ValueError: if a source is longer than a fixed canvas.
        """
        if fixed := self.options.ctc_canvas_length:
            missing = fixed - src_tokens.size(1)
            if missing < 0:
                raise ValueError(
                    f"--ctc-canvas-length {fixed} must not be below the longest source, but that has "
                    f"{src_tokens.size(1)} tokens"
                )
            src_tokens = F.pad(src_tokens, (0, missing), value=self.source_pad)
        out = self.encoder(src_tokens, src_lengths)
        states, padding = out["encoder_out"][0], out["encoder_padding_mask"][0]
        posterior = self.latent(states.transpose(0, 1))  # S x B x D -> B x S x Z
        return Encoded(states, padding, src_lengths, posterior, self.decoder.read_source(states, padding))

    def canvas(self, encoded: Encoded, target_lengths: Tensor | None = None) -> Canvas:
        """The canvas with its latent. ``target_lengths``, B, replace the length head's choice; CTC ignores them."""
        return self.control.canvas(encoded, self.latent.sample(encoded.posterior), target_lengths)

    def canvases(self, encoded: Encoded, count: int) -> tuple[Encoded, Canvas]:
        """Several canvases for each sentence: of the most probable lengths, under CTC around the usual one.

        Args:
            encoded: the source, B sentences.
            count: K, canvases for each sentence; 1 if the canvas length is fixed.

        Returns:
            The source and its canvases, B K rows; those of one sentence follow each other.
        """
        if count == 1:
            return encoded, self.canvas(encoded)
        lengths = self.control.lengths(encoded, count).flatten()
        sentences = torch.arange(len(encoded.lengths), device=lengths.device)
        encoded = encoded.selected(sentences.repeat_interleave(count))
        return encoded, self.control.lay_out(self.latent.sample(encoded.posterior), encoded.lengths, lengths)

    def decode(self, encoded: Encoded, canvas: Canvas, canvas_tokens: Tensor | None = None) -> Tensor:
        """States of one pass, A x B x D.

        Args:
            encoded: the source.
            canvas: the canvas, B x A.
            canvas_tokens: B x A, revealed ids and [MASK] elsewhere; None: all [MASK], if the model reads tokens.

        Returns:
            A x B x D.
        """
        states: Tensor = self.decoder(*self._decoder_input(encoded, canvas, canvas_tokens))
        return states

    def source_weights(self, encoded: Encoded, canvas: Canvas) -> Tensor:
        """Weights of cross-attention with no token revealed: B x A x S, mean over heads and layers. Inference only."""
        canvas, _, _, tokens, memory = self._decoder_input(encoded, canvas, None)
        return self.decoder.source_weights(canvas, tokens, memory)

    def _decoder_input(self, encoded: Encoded, canvas: Canvas, canvas_tokens: Tensor | None) -> tuple[Any, ...]:
        """Arguments of the decoder, from those of ``decode``."""
        if self.options.canvas_tokens and canvas_tokens is None:
            canvas_tokens = torch.full_like(canvas.padding, self.mask, dtype=torch.long)
        return canvas, self.latent_dropout(encoded.states), encoded.padding, canvas_tokens, encoded.memory

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        target_lengths: Tensor | None = None,
        reveal: Reveal | None = None,
        inner_states: bool = False,
    ) -> NarOutput:
        """Run the whole model once; the decoder twice if ``reveal`` asks for its own guess.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.
            target_lengths: B, gold target lengths under length classification.
            reveal: chooses the tokens to show and the positions to predict; None: no tokens, all positions.
            inner_states: return the states of the lower decoder layers too.

        Returns:
            Logits of the whole canvas (A x B x V), or of the chosen positions in row-major order (N x V).
        """
        encoded = self.encode(src_tokens, src_lengths)
        canvas = self.canvas(encoded, target_lengths)

        @torch.no_grad()
        def guess() -> LazyLogits:
            return self.decoder.lazy_logits(self.decode(encoded, canvas))

        revealed = None if reveal is None else reveal(canvas, guess)
        shown = None if revealed is None else revealed.tokens
        if inner_states:
            layers = list(self.decoder.layer_states(*self._decoder_input(encoded, canvas, shown)))
        else:
            layers = [self.decode(encoded, canvas, shown)]
        if revealed is not None:
            layers = [states.transpose(0, 1)[revealed.hidden] for states in layers]  # A x B x D -> N x D
        posterior = None if encoded.posterior.log_variance is None else encoded.posterior
        prediction = self.decoder.lazy_logits(layers[-1])
        return NarOutput(
            prediction, canvas.lengths, self.control.length_logits(encoded), posterior, revealed, layers[:-1]
        )

    def max_positions(self) -> tuple[int, int]:
        """The longest source (its canvas must fit the decoder's positions) and the longest target."""
        source, canvas = self.encoder.max_positions(), self.decoder.max_positions()
        return self.control.max_source(source, canvas), self.options.ctc_canvas_length or canvas
