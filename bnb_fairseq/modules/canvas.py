"""The canvas: the positions that the decoder fills, all at once."""

from typing import NamedTuple

import torch
from torch import Tensor


class Canvas(NamedTuple):
    """What the decoder starts from.

    Attributes:
        latent: B x A x Z, the latent vector that each position reads.
        lengths: B, true canvas lengths.
        padding: B x A, True beyond a sentence's own canvas.
        added: B x A, True at positions that were added by upsampling and carry [MASK] instead of the latent; None if
            every position carries the latent.
    """

    latent: Tensor
    lengths: Tensor
    padding: Tensor
    added: Tensor | None


class Revealed(NamedTuple):
    """What the decoder is shown on its canvas in training, and where it is to predict.

    Attributes:
        tokens: B x A, true tokens where they are shown and [MASK] elsewhere; None: it is shown nothing.
        hidden: B x A, True at the positions to predict, all of them inside the canvas.
    """

    tokens: Tensor | None
    hidden: Tensor


def padding_mask(lengths: Tensor, longest: int) -> Tensor:
    """Mark the positions beyond each length.

    Args:
        lengths: B.
        longest: L, number of columns.

    Returns:
        B x L, True where position >= length.
    """
    return torch.arange(longest, device=lengths.device) >= lengths.unsqueeze(1)


def upsampled_lengths(source_lengths: Tensor, upsample: float) -> Tensor:
    """Number of canvas positions under CTC: ceil(upsample x source length).

    Args:
        source_lengths: B.
        upsample: positions per source token, at least 1.

    Returns:
        B, the dtype of ``source_lengths``.
    """
    # 85 x 2.2 is 187.00000000000003 in floating point; the last of 188 positions would read the padding.
    return torch.ceil(source_lengths.double() * upsample - 1e-9).to(source_lengths.dtype)


def upsample_latent(latent: Tensor, source_lengths: Tensor, upsample: float, mask_added: bool) -> Canvas:
    """Spread the latent over the CTC canvas: position a reads source position floor(a / upsample).

    Args:
        latent: B x S x Z.
        source_lengths: B, true source lengths.
        upsample: canvas positions per source token, at least 1.
        mask_added: mark the positions that repeat their left neighbour's source position as added.

    Returns:
        The canvas, A = ceil(upsample x S).
    """
    lengths = upsampled_lengths(source_lengths, upsample)
    longest = int(upsampled_lengths(torch.tensor([latent.size(1)]), upsample))
    places = torch.arange(longest, device=latent.device, dtype=torch.float64)
    sources = (places / upsample).floor().long().clamp(max=latent.size(1) - 1)
    padding = padding_mask(lengths, longest)
    added = None
    if mask_added:
        repeats = torch.zeros(longest, dtype=torch.bool, device=latent.device)
        repeats[1:] = sources[1:] == sources[:-1]
        added = repeats.expand_as(padding)
    return Canvas(latent[:, sources], lengths, padding, added)
