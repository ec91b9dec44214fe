"""Canvases for a graph: how many positions each sentence has, and which part of the latent each of them reads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.canvas import upsampled_lengths
from ..modules.length import MIN_LENGTH, MIN_SIGMA
from ..network.options import NetworkOptions
from .layers import Affine, Weights


class SpreadCanvas(nn.Module):
    """CTC's canvas, ``upsample`` positions for each source token; tables replace arithmetic, see ``canvas.py``.

    Args:
        options: of the network.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        ratio = options.ctc_upsample
        lengths = upsampled_lengths(torch.arange(options.encoder_positions + 1), ratio)
        places = torch.arange(int(lengths[-1]), dtype=torch.float64)
        sources = (places / ratio + 1e-9).floor().long()
        self.register_buffer("lengths", lengths)
        self.register_buffer("sources", sources)
        repeats = F.pad(sources[1:] == sources[:-1], (1, 0))
        self.register_buffer("repeats", repeats if options.ctc_canvas == "mask" else None)
        self.lengths: Tensor
        self.sources: Tensor
        self.repeats: Tensor | None

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent on the canvas, B x S x Z -> B x A x Z; lengths, B; and True at added positions, A x 1."""
        lengths = self.lengths[src_lengths]
        places = _places(lengths)
        sources = self.sources[places].clamp(max=latent.size(1) - 1)
        added = None if self.repeats is None else self.repeats[places].unsqueeze(1)
        return latent.index_select(1, sources), lengths, added


class EvenCanvas(nn.Module):
    """CTC's canvas with extra positions: the source is spread over it at a ratio of its own; see ``canvas.py``.

    Args:
        options: of the network.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        lengths = torch.arange(options.encoder_positions + 1)
        self.register_buffer("lengths", upsampled_lengths(lengths, options.ctc_upsample, options.ctc_extra))
        self.lengths: Tensor
        self.mask_added = options.ctc_canvas == "mask"

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Lay out the canvas: latent B x S x Z -> B x A x Z, lengths B, and where [MASK] stands, B x A x 1."""
        lengths = self.lengths[src_lengths]
        places, tokens, positions = _places(lengths), src_lengths.unsqueeze(1), lengths.unsqueeze(1)
        sources = (places * tokens // positions).clamp(max=latent.size(1) - 1)  # B x A
        spread = latent.gather(1, sources.unsqueeze(2).expand(-1, -1, latent.size(2)))
        if not self.mask_added:
            return spread, lengths, None
        left = (places - 1).clamp(min=0) * tokens // positions
        added = (sources == left.clamp(max=latent.size(1) - 1)) & (places > 0)
        return spread, lengths, added.unsqueeze(2)


class FixedCanvas(nn.Module):
    """CTC's canvas of one length, to which the source is padded.

    Args:
        length: A.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent, B x A x Z, as it is; lengths, B; and no added positions."""
        return latent, torch.full_like(src_lengths, self.length), None


class ClassifiedCanvas(nn.Module):
    """A canvas of the most probable length, to which the latent is resampled; see ``length.py``.

    Args:
        options: of the network.
        weights: of the model.
    """

    def __init__(self, options: NetworkOptions, weights: Weights) -> None:
        super().__init__()
        self.projection = Affine(weights, "length_head.projection")
        self.longest = options.decoder_positions
        self.register_buffer("differences", torch.arange(-options.length_range, options.length_range + 1))
        self.differences: Tensor
        self.width = 2.0 * max(float(weights["length_converter.sigma"]) ** 2, MIN_SIGMA**2)

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent on the canvas, B x S x Z -> B x A x Z; lengths, B; and no added positions."""
        kept = (~padding).float().unsqueeze(2)
        logits = self.projection((states * kept).sum(dim=1) / kept.sum(dim=1))
        possible = src_lengths.unsqueeze(1) + self.differences
        forbidden = (possible < MIN_LENGTH) | (possible > self.longest)
        best = logits.masked_fill(forbidden, float("-inf")).argmax(dim=1, keepdim=True)
        lengths = possible.gather(1, best).squeeze(1).clamp(MIN_LENGTH, self.longest)
        centres = _places(lengths).float() * (src_lengths.float() / lengths.float()).unsqueeze(1)  # B x A
        sources = torch.arange(latent.size(1), device=latent.device)
        scores = -(sources - centres.unsqueeze(2)).square() / self.width  # B x A x S
        beyond = (sources >= src_lengths.unsqueeze(1)).unsqueeze(1)
        return scores.masked_fill(beyond, float("-inf")).softmax(dim=-1) @ latent, lengths, None


def _places(lengths: Tensor) -> Tensor:
    """Position numbers of the longest canvas: A."""
    longest = lengths.max().item()
    torch._check(longest >= 1)  # type: ignore[no-untyped-call]
    return torch.arange(longest, device=lengths.device)
