"""The length classifier, and resampling of the latent to the predicted length."""

import torch
from torch import Tensor, nn

from .layers import init_bert_weights

MIN_LENGTH = 2  # [CLS] and [SEP]
MIN_SIGMA = 1e-2  # a narrower one already selects only the nearest position; at 0 the weights are undefined


def masked_mean(states: Tensor, padding: Tensor) -> Tensor:
    """Mean over non-padding positions: B x S x D -> B x D, float32; ``padding`` is B x S, True at padding."""
    kept = (~padding).unsqueeze(-1).float()
    return (states.float() * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)


class LengthHead(nn.Module):
    """Classifies target length minus source length into -N..N from the mean encoder state.

    Args:
        embed_dim: width of the encoder states.
        length_range: N.
    """

    def __init__(self, embed_dim: int, length_range: int) -> None:
        super().__init__()
        self.length_range = length_range
        self.projection = nn.Linear(embed_dim, 2 * length_range + 1)
        self.apply(init_bert_weights)

    def forward(self, states: Tensor, padding: Tensor) -> Tensor:
        """Logits, B x (2N + 1), class c for a difference of c - N; states are B x S x D, ``padding`` is B x S."""
        logits: Tensor = self.projection(masked_mean(states, padding).to(states.dtype))
        return logits

    def classes(self, source_lengths: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of lengths, B, clamped into the range; and B, bool, True where the difference is out of range."""
        difference = target_lengths - source_lengths
        classes = difference.clamp(-self.length_range, self.length_range) + self.length_range
        return classes, difference.abs() > self.length_range

    def lengths(self, logits: Tensor, source_lengths: Tensor, longest: int, count: int = 1) -> Tensor:
        """The most probable target lengths between 2 and ``longest``.

        Args:
            logits: B x (2N + 1).
            source_lengths: B.
            longest: largest length allowed.
            count: K, at most 2N + 1.

        Returns:
            B x K, the most probable first; if fewer lengths are allowed, the nearest allowed one repeats.
        """
        differences = torch.arange(-self.length_range, self.length_range + 1, device=logits.device)
        lengths = source_lengths.unsqueeze(1) + differences
        forbidden = (lengths < MIN_LENGTH) | (lengths > longest)
        best = logits.masked_fill(forbidden, float("-inf")).topk(count, dim=-1).indices
        return lengths.gather(1, best).clamp(MIN_LENGTH, longest)


class GaussianLengthConverter(nn.Module):
    """Resamples S latent vectors to T: the length transformation of Shu et al. (2020), LaNMT, section 3.

    Output position j is the average of z weighted by softmax over k of -(k - j S / T)^2 / (2 sigma^2), with a learned
    width sigma. The weights are computed in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.ones(1))

    def forward(self, latent: Tensor, source_lengths: Tensor, target_lengths: Tensor, longest: int) -> Tensor:
        """Resample: B x S x Z -> B x T x Z; positions beyond a sentence's own length are undefined.

        Args:
            latent: B x S x Z.
            source_lengths: B, true source lengths.
            target_lengths: B, true target lengths.
            longest: T, the largest target length.

        Returns:
            B x T x Z.
        """
        source_places = torch.arange(latent.size(1), device=latent.device)
        target_places = torch.arange(longest, device=latent.device, dtype=torch.float32)
        centres = target_places * (source_lengths / target_lengths).float().unsqueeze(1)  # B x T
        distance = (source_places - centres.unsqueeze(-1)).square()  # B x T x S
        scores = -distance / (2.0 * self.sigma.float().square().clamp(min=MIN_SIGMA**2))
        beyond = source_places >= source_lengths.unsqueeze(1)  # B x S
        weights = scores.masked_fill(beyond.unsqueeze(1), float("-inf")).softmax(dim=-1)
        return torch.bmm(weights.to(latent.dtype), latent)
