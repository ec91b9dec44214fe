"""Length controls: how many positions the decoder fills, and which symbol stands for no text."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..modules.canvas import Canvas, lengths_around, padding_mask, upsample_latent, upsampled_lengths
from ..modules.length import GaussianLengthConverter, LengthHead
from .encoded import Encoded


class LengthControl(ABC):
    """Control of the output length; a network has one.

    Attributes:
        has_alignments: several fillings of a canvas are the same text (CTC), so that a beam can search texts.
        blank: id of the symbol that stands for no text on the canvas.
    """

    has_alignments: bool
    blank: int

    @abstractmethod
    def canvas(self, encoded: Encoded, latent: Tensor, target_lengths: Tensor | None) -> Canvas:
        """One canvas for each sentence, B x A.

        Args:
            encoded: the source, B sentences.
            latent: B x S x Z.
            target_lengths: B, gold lengths; None: unknown.

        Returns:
            The canvas.
        """

    @abstractmethod
    def lengths(self, encoded: Encoded, count: int) -> Tensor:
        """Lengths of K canvases for each sentence: B x K, the best first."""

    @abstractmethod
    def lay_out(self, latent: Tensor, source_lengths: Tensor, lengths: Tensor) -> Canvas:
        """Canvases of given lengths (B) for the latent, B x S x Z."""

    @abstractmethod
    def max_canvases(self) -> int:
        """Number of canvases of different length that a sentence can have, given enough positions."""

    @abstractmethod
    def max_source(self, source: int, canvas: int) -> int:
        """Longest source, given the positions of encoder and decoder."""

    def length_logits(self, encoded: Encoded) -> Tensor | None:
        """Scores of target lengths, B x (2N + 1); None if lengths are not classified."""
        return None


class Ctc(LengthControl):
    """CTC: ``upsample`` positions for each source token, repeats merged and blanks dropped (Libovicky and Helcl 2018).

    Args:
        blank: id of the blank.
        upsample: canvas positions per source token, above 0.
        extra: canvas positions beside them, for a source of any length.
        mask_added: positions that upsampling adds carry [MASK] in place of the latent.
        longest: positions of the decoder.
    """

    has_alignments = True

    def __init__(self, blank: int, upsample: float, extra: int, mask_added: bool, longest: int) -> None:
        self.blank, self.upsample, self.extra, self.mask_added = blank, upsample, extra, mask_added
        self._longest = longest

    def canvas(self, encoded: Encoded, latent: Tensor, target_lengths: Tensor | None) -> Canvas:  # noqa: D102
        if self.extra:
            return self.lay_out(latent, encoded.lengths, upsampled_lengths(encoded.lengths, self.upsample, self.extra))
        return upsample_latent(latent, encoded.lengths, self.upsample, self.mask_added)

    def lengths(self, encoded: Encoded, count: int) -> Tensor:  # noqa: D102
        usual = upsampled_lengths(encoded.lengths, self.upsample, self.extra)
        shortest = encoded.lengths if self.upsample >= 1 else torch.ones_like(usual)
        return lengths_around(usual, shortest, self._longest, count)

    def lay_out(self, latent: Tensor, source_lengths: Tensor, lengths: Tensor) -> Canvas:  # noqa: D102
        return upsample_latent(latent, source_lengths, lengths / source_lengths.double(), self.mask_added)

    def max_canvases(self) -> int:  # noqa: D102
        return self._longest

    def max_source(self, source: int, canvas: int) -> int:  # noqa: D102
        lengths = upsampled_lengths(torch.arange(1, source + 1), self.upsample, self.extra)
        return int((lengths <= canvas).sum())


class FixedCtc(Ctc):
    """CTC on a canvas of A positions for all sentences, to which sources are padded, as in the original implementation.

    Args:
        blank: id of the blank.
        length: A.
    """

    def __init__(self, blank: int, length: int) -> None:
        super().__init__(blank, 1.0, 0, mask_added=False, longest=length)

    def canvas(self, encoded: Encoded, latent: Tensor, target_lengths: Tensor | None) -> Canvas:  # noqa: D102
        lengths = torch.full_like(encoded.lengths, self._longest)
        return Canvas(latent, lengths, torch.zeros_like(encoded.padding), added=None)

    def max_canvases(self) -> int:  # noqa: D102
        return 1

    def max_source(self, source: int, canvas: int) -> int:  # noqa: D102
        return self._longest


class PredictedLength(LengthControl):
    """A classifier of target length minus source length; the latent is resampled to it (Shu et al. 2020).

    Args:
        head: the classifier.
        converter: resamples the latent.
        pad: id of [PAD], which a position without text holds.
        longest: positions of the decoder.
    """

    has_alignments = False

    def __init__(self, head: LengthHead, converter: GaussianLengthConverter, pad: int, longest: int) -> None:
        self._head, self._converter, self.blank, self._longest = head, converter, pad, longest

    def canvas(self, encoded: Encoded, latent: Tensor, target_lengths: Tensor | None) -> Canvas:  # noqa: D102
        if target_lengths is None:
            target_lengths = self.lengths(encoded, 1).squeeze(1)
        return self.lay_out(latent, encoded.lengths, target_lengths)

    def lengths(self, encoded: Encoded, count: int) -> Tensor:  # noqa: D102
        return self._head.lengths(self.length_logits(encoded), encoded.lengths, self._longest, count)

    def lay_out(self, latent: Tensor, source_lengths: Tensor, lengths: Tensor) -> Canvas:  # noqa: D102
        longest = int(lengths.max())
        resampled = self._converter(latent, source_lengths, lengths, longest)
        return Canvas(resampled, lengths, padding_mask(lengths, longest), added=None)

    def max_canvases(self) -> int:  # noqa: D102
        return 2 * self._head.length_range + 1

    def max_source(self, source: int, canvas: int) -> int:  # noqa: D102
        return source

    def length_logits(self, encoded: Encoded) -> Tensor:  # noqa: D102
        logits: Tensor = self._head(encoded.states.transpose(0, 1), encoded.padding)
        return logits
