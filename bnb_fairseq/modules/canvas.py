"""The canvas: the positions that the decoder fills in one pass."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Canvas(NamedTuple):
    """Input of the decoder.

    Attributes:
        latent: B x A x Z, the latent vector that each position reads.
        lengths: B, true canvas lengths.
        padding: B x A, True beyond a sentence's own canvas.
        added: B x A, True at positions that upsampling added and that carry [MASK]; None: all carry the latent.
    """

    latent: Tensor
    lengths: Tensor
    padding: Tensor
    added: Tensor | None


class Revealed(NamedTuple):
    """Tokens shown to the decoder in training, and the positions to predict.

    Attributes:
        tokens: B x A, true tokens where they are shown and [MASK] elsewhere; None: none is shown.
        hidden: B x A, True at the positions to predict, all inside the canvas.
    """

    tokens: Tensor | None
    hidden: Tensor


def padding_mask(lengths: Tensor, longest: int) -> Tensor:
    """B x ``longest``, True where position >= length; ``lengths``: B."""
    return torch.arange(longest, device=lengths.device) >= lengths.unsqueeze(1)


def upsampled_lengths(source_lengths: Tensor, upsample: float | Tensor, extra: int = 0) -> Tensor:
    """Canvas lengths under CTC: ceil(upsample x source length) + extra, B, at least 1 for a source with tokens.

    ``upsample`` is positive: canvas positions per source token; or B, float64, one for each sentence. An empty source
    has no extra positions.
    """
    # In floating point, 85 x 2.2 is 187.00000000000003; the last of 188 positions would read padding.
    lengths = torch.ceil(source_lengths.double() * upsample - 1e-9).to(source_lengths.dtype)
    some = source_lengths.clamp(max=1)
    return lengths.maximum(some) + extra * some


def upsample_latent(latent: Tensor, source_lengths: Tensor, upsample: float | Tensor, mask_added: bool) -> Canvas:
    """Spread the latent over the CTC canvas: position a reads source position floor(a / upsample).

    With a ratio below 1, no position reads some of the source, and none repeats another or counts as added.

    Args:
        latent: B x S x Z.
        source_lengths: B, true source lengths.
        upsample: canvas positions per source token, above 0; or B, float64, one for each sentence.
        mask_added: mark the positions that repeat their left neighbour's source position as added.

    Returns:
        The canvas, A = ceil(upsample x S), or the longest sentence's length with a ratio for each.
    """
    lengths = upsampled_lengths(source_lengths, upsample)
    if isinstance(upsample, Tensor):
        longest = int(lengths.max())
        upsample = upsample.unsqueeze(1)
    else:
        longest = int(upsampled_lengths(torch.tensor([latent.size(1)]), upsample))
    places = torch.arange(longest, device=latent.device, dtype=torch.float64).unsqueeze(0)
    # The small number corrects rounding: 5 / (5 / 3) is 3, not a little less.
    sources = (places / upsample + 1e-9).floor().long().clamp(max=latent.size(1) - 1)  # B x A, or 1 x A for all
    added = None
    if mask_added:
        repeats = F.pad(sources[:, 1:] == sources[:, :-1], (1, 0))
        added = repeats.expand(len(latent), -1)
    rows = torch.arange(len(latent), device=latent.device).unsqueeze(1)
    spread = latent[:, sources[0]] if len(sources) == 1 else latent[rows, sources]
    return Canvas(spread, lengths, padding_mask(lengths, longest), added)


def lengths_around(lengths: Tensor, shortest: Tensor, longest: int, count: int) -> Tensor:
    """B x K canvas lengths: the given one, then longer and shorter by turns, in steps of a tenth, at least 1.

    Args:
        lengths: B.
        shortest: B, lower bounds; a length outside the bounds becomes the bound.
        longest: upper bound.
        count: K.

    Returns:
        B x K, the given lengths first.
    """
    turns = torch.arange(1, count + 1, device=lengths.device)
    offsets = turns // 2 * torch.where(turns % 2 == 0, 1, -1)  # 0, 1, -1, 2, -2, ...
    steps = (lengths / 10).round().long().clamp(min=1)
    varied = lengths.unsqueeze(1) + steps.unsqueeze(1) * offsets
    return varied.maximum(shortest.unsqueeze(1)).clamp(max=longest)
