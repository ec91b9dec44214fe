"""The ``bnb_transformer`` model and its named architectures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fairseq.models import register_model, register_model_architecture
from torch import Tensor, nn

from ..data.dictionary import BnbDictionary
from ..modules.canvas import (
    Canvas,
    Revealed,
    lengths_around,
    padding_mask,
    upsample_latent,
    upsampled_lengths,
)
from ..modules.inference import SourceMemory
from ..modules.latent import Latent, Posterior
from ..modules.lazy_logits import LazyLogits
from ..modules.length import GaussianLengthConverter, LengthHead
from .bert_encoder import BertEncoder
from .config import (
    BERT_BASE,
    SMALL,
    TINY,
    BnbTransformerConfig,
    architecture,
    check_options,
    complete_sizes,
    layer_sizes,
)
from .freezing import freeze
from .from_pretrained import FromPretrained
from .nar_decoder import NarDecoder
from .task_with_dictionaries import TaskWithDictionaries, require_own_task


class Encoded(NamedTuple):
    """Encoded source sentences.

    Attributes:
        states: S x B x D.
        padding: B x S, True at padding.
        lengths: B, true source lengths.
        posterior: of the latent.
        memory: the states as the decoder's cross-attention reads them, if the model is prepared for inference.
    """

    states: Tensor
    padding: Tensor
    lengths: Tensor
    posterior: Posterior
    memory: SourceMemory | None

    def selected(self, rows: Tensor) -> "Encoded":
        """Select and repeat sentences.

        Args:
            rows: N, their indices.

        Returns:
            N sentences.
        """
        mean, log_variance = self.posterior
        return Encoded(
            self.states.index_select(1, rows),
            self.padding.index_select(0, rows),
            self.lengths.index_select(0, rows),
            Posterior(mean.index_select(0, rows), None if log_variance is None else log_variance.index_select(0, rows)),
            None if self.memory is None else self.memory.selected(rows),
        )


class NarOutput(NamedTuple):
    """What the criterion needs of a forward pass.

    Attributes:
        prediction: logits, A x B x V; or N x V, in row-major order of B x A, if N positions were to be predicted.
        canvas_lengths: B, true canvas lengths.
        length_logits: B x (2N + 1) under length classification, else None.
        posterior: of the latent, if it is variational.
        revealed: what the decoder was shown and where it predicts, if that was asked for.
        inner_states: of every decoder layer but the last, which predicts; empty unless asked for.
    """

    prediction: LazyLogits
    canvas_lengths: Tensor
    length_logits: Tensor | None
    posterior: Posterior | None = None
    revealed: Revealed | None = None
    inner_states: Sequence[Tensor] = ()

    @property
    def logits(self) -> Tensor:
        """The whole prediction, computed whenever it is asked for."""
        return self.prediction.whole()


# Decides, for a canvas, what the decoder is shown; may ask for the logits, A x B x V, of a pass that is shown nothing.
Reveal = Callable[[Canvas, Callable[[], LazyLogits]], Revealed]


@register_model("bnb_transformer", dataclass=BnbTransformerConfig)
class BnbTransformer(FromPretrained):
    """BERT-NAR-BERT: encoder, latent, canvas and decoder (Sohrab et al. 2024, doi 10.1109/ACCESS.2023.3346952).

    Args:
        cfg: options with every size set.
        source_dictionary: the source dictionary.
        target_dictionary: the target dictionary.

    Raises:
        ValueError: if options contradict each other.
    """

    def __init__(
        self, cfg: BnbTransformerConfig, source_dictionary: BnbDictionary, target_dictionary: BnbDictionary
    ) -> None:
        super().__init__()
        check_options(cfg)
        self.uses_ctc = str(cfg.length_control) == "ctc"
        self.reads_canvas_tokens: bool = cfg.canvas_tokens
        self.upsample: float = cfg.ctc_upsample
        self.mask_added = str(cfg.ctc_canvas) == "mask"
        self.canvas_length: int = cfg.ctc_canvas_length
        self.num_updates = 0
        blanks = {"new": len(target_dictionary), "pad": target_dictionary.pad(), "mask": target_dictionary.mask()}
        self.blank = blanks[str(cfg.ctc_blank)]
        self.source_pad, self.mask = source_dictionary.pad(), target_dictionary.mask()
        encoder_sizes, decoder_sizes = layer_sizes(cfg, "encoder"), layer_sizes(cfg, "decoder")
        self.encoder = BertEncoder(
            source_dictionary, encoder_sizes, int(cfg.encoder_positions or 0), keep_padding=self.canvas_length > 0
        )
        variational = str(cfg.latent) == "vae"
        self.latent = Latent(encoder_sizes.embed_dim, cfg.latent_size, cfg.latent_dropout, variational)
        self.latent_dropout = nn.Dropout(cfg.latent_dropout)
        self.decoder = NarDecoder(
            target_dictionary,
            decoder_sizes,
            encoder_sizes.embed_dim,
            self.latent.output_size,
            int(cfg.decoder_positions or 0),
            extra_symbols=int(self.uses_ctc and str(cfg.ctc_blank) == "new"),
            project_latent=cfg.latent_size > 0,
            tied=not cfg.untie_output,
        )
        if not self.uses_ctc:
            self.length_head = LengthHead(encoder_sizes.embed_dim, cfg.length_range)
            self.length_converter = GaussianLengthConverter()
        freeze(self, cfg.freeze)

    @classmethod
    def build_model(cls, cfg: BnbTransformerConfig, task: TaskWithDictionaries) -> "BnbTransformer":
        """Build a model with random weights; sizes left open are bert-base's.

        Args:
            cfg: the options.
            task: has the dictionaries.

        Returns:
            The model.

        Raises:
            ValueError: if the task is another package's, or options contradict each other.
        """
        require_own_task("bnb_transformer", task, (task.source_dictionary, task.target_dictionary))
        for side in ("encoder", "decoder"):
            complete_sizes(cfg, side, BERT_BASE)
        return cls(cfg, task.source_dictionary, task.target_dictionary)

    def encode(self, src_tokens: Tensor, src_lengths: Tensor) -> Encoded:
        """Encode source sentences.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.

        Returns:
            Encoder states with padding and lengths; S is ``canvas_length`` where that is fixed.

        Raises:
            ValueError: if the sources are longer than a fixed canvas.
        """
        if self.canvas_length:
            missing = self.canvas_length - src_tokens.size(1)
            if missing < 0:
                raise ValueError(
                    f"--ctc-canvas-length {self.canvas_length} must not be below the longest source, but that has "
                    f"{src_tokens.size(1)} tokens"
                )
            src_tokens = F.pad(src_tokens, (0, missing), value=self.source_pad)
        out = self.encoder(src_tokens, src_lengths)
        states, padding = out["encoder_out"][0], out["encoder_padding_mask"][0]
        posterior = self.latent(states.transpose(0, 1))  # S x B x D -> B x S x Z
        return Encoded(states, padding, src_lengths, posterior, self.decoder.read_source(states, padding))

    def length_logits(self, encoded: Encoded) -> Tensor | None:
        """Score target lengths: B x (2N + 1), or None under CTC."""
        return None if self.uses_ctc else self.length_head(encoded.states.transpose(0, 1), encoded.padding)

    def canvas(self, encoded: Encoded, target_lengths: Tensor | None = None) -> Canvas:
        """Lay out the canvas.

        Args:
            encoded: the source.
            target_lengths: B, gold lengths; without them the length head decides. CTC needs neither.

        Returns:
            The canvas, with the latent that each position reads.
        """
        latent = self.latent.sample(encoded.posterior)
        if self.canvas_length:
            lengths = torch.full_like(encoded.lengths, self.canvas_length)
            return Canvas(latent, lengths, torch.zeros_like(encoded.padding), added=None)
        if self.uses_ctc:
            return upsample_latent(latent, encoded.lengths, self.upsample, self.mask_added)
        if target_lengths is None:
            target_lengths = self._best_lengths(encoded, 1).squeeze(1)
        return self._resampled(latent, encoded.lengths, target_lengths)

    def canvases(self, encoded: Encoded, count: int) -> tuple[Encoded, Canvas]:
        """Lay out several canvases for each sentence: of the most probable lengths, under CTC around the usual one.

        Args:
            encoded: the source, B sentences.
            count: K, canvases a sentence; 1 if the canvas has a fixed length.

        Returns:
            The source and its canvases, B K rows; those of one sentence follow each other.
        """
        if count == 1:
            return encoded, self.canvas(encoded)
        if self.uses_ctc:
            usual = upsampled_lengths(encoded.lengths, self.upsample)
            shortest = encoded.lengths if self.upsample >= 1 else torch.ones_like(usual)
            lengths = lengths_around(usual, shortest, self.decoder.max_positions(), count).flatten()
        else:
            lengths = self._best_lengths(encoded, count).flatten()
        sentences = torch.arange(len(encoded.lengths), device=lengths.device)
        encoded = encoded.selected(sentences.repeat_interleave(count))
        latent = self.latent.sample(encoded.posterior)
        if self.uses_ctc:
            return encoded, upsample_latent(
                latent, encoded.lengths, lengths / encoded.lengths.double(), self.mask_added
            )
        return encoded, self._resampled(latent, encoded.lengths, lengths)

    def max_canvases(self) -> int:
        """Return how many canvases of different length a sentence can have, given positions enough."""
        if self.uses_ctc:
            return 1 if self.canvas_length else self.decoder.max_positions()
        return 2 * self.length_head.length_range + 1

    def _best_lengths(self, encoded: Encoded, count: int) -> Tensor:
        """Choose the K most probable target lengths of each sentence: B x K."""
        logits = self.length_head(encoded.states.transpose(0, 1), encoded.padding)
        return self.length_head.lengths(logits, encoded.lengths, self.decoder.max_positions(), count)

    def _resampled(self, latent: Tensor, source_lengths: Tensor, lengths: Tensor) -> Canvas:
        """Lay out canvases of given lengths (B) for the latent, B x S x Z."""
        longest = int(lengths.max())
        resampled = self.length_converter(latent, source_lengths, lengths, longest)
        return Canvas(resampled, lengths, padding_mask(lengths, longest), added=None)

    def decode(self, encoded: Encoded, canvas: Canvas, canvas_tokens: Tensor | None = None) -> Tensor:
        """Run the decoder once.

        Args:
            encoded: the source.
            canvas: the canvas, B x A.
            canvas_tokens: B x A, tokens revealed and [MASK] elsewhere; None: all [MASK], if the model reads tokens.

        Returns:
            States, A x B x D.
        """
        states: Tensor = self.decoder(*self._decoder_input(encoded, canvas, canvas_tokens))
        return states

    def _decoder_input(self, encoded: Encoded, canvas: Canvas, canvas_tokens: Tensor | None) -> tuple[Any, ...]:
        """Collect what the decoder reads; the same arguments as ``decode``'s."""
        if self.reads_canvas_tokens and canvas_tokens is None:
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
        """Run the whole model once, the decoder twice if ``reveal`` wants to know what it would say by itself.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.
            target_lengths: B, gold target lengths under length classification.
            reveal: decides what the decoder is shown and where it is to predict; None: nothing, and everywhere.
            inner_states: return the states of the other decoder layers too.

        Returns:
            Logits for the whole canvas (A x B x V), or for the wanted positions in row-major order (N x V).
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
        return NarOutput(prediction, canvas.lengths, self.length_logits(encoded), posterior, revealed, layers[:-1])

    def set_num_updates(self, num_updates: int) -> None:
        """Remember how many updates the model has seen; fairseq calls this before each, schedules read it.

        Args:
            num_updates: updates made so far.
        """
        self.num_updates = num_updates
        super().set_num_updates(num_updates)

    def max_positions(self) -> tuple[int, int]:
        """Return the longest source (its canvas must fit the decoder's positions) and the longest target."""
        source, canvas = self.encoder.max_positions(), self.decoder.max_positions()
        if self.canvas_length:
            return self.canvas_length, self.canvas_length
        if self.uses_ctc:
            source = int((upsampled_lengths(torch.arange(1, source + 1), self.upsample) <= canvas).sum())
        return source, canvas


@register_model_architecture("bnb_transformer", "bnb_transformer_small")
def bnb_transformer_small(cfg: Any) -> None:
    """Set MiniLM's sizes: 6 layers of width 384."""
    architecture(cfg, SMALL)


@register_model_architecture("bnb_transformer", "bnb_transformer_tiny")
def bnb_transformer_tiny(cfg: Any) -> None:
    """Set the sizes of BERT-tiny: 2 layers of width 128."""
    architecture(cfg, TINY)
