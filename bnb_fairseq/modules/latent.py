"""The latent variable between encoder and decoder, deterministic or variational."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import init_bert_weights, init_linear


class Posterior(NamedTuple):
    """q(z | source) = N(mean, exp(log_variance)), independent in every unit.

    Attributes:
        mean: B x S x Z.
        log_variance: B x S x Z; None: a deterministic latent, equal to its mean.
    """

    mean: Tensor
    log_variance: Tensor | None


class Latent(nn.Module):
    """One vector of width Z for every source token, from the encoder state H.

    Deterministic: z = W H; with Z = 0, z = H. Variational (Kingma and Welling 2014): mu = W H, log variance = V H. In
    training z = mu + exp(log variance / 2) eps with eps ~ N(0, 1); in decoding z = mu.

    Args:
        embed_dim: width D of the encoder states.
        latent_size: Z; at least 1 for a variational latent.
        dropout: dropout probability of z.
        variational: learn a variance.
    """

    def __init__(self, embed_dim: int, latent_size: int, dropout: float = 0.0, variational: bool = False) -> None:
        super().__init__()
        self.output_size = latent_size or embed_dim
        self.projection = nn.Linear(embed_dim, latent_size) if latent_size else nn.Identity()
        self.log_variance = nn.Linear(embed_dim, latent_size) if variational else None
        self.dropout = nn.Dropout(dropout)
        if isinstance(self.projection, nn.Linear):
            init_linear(self.projection)
        if self.log_variance is not None:
            init_bert_weights(self.log_variance)  # near 0: the posterior begins with the prior's width

    def forward(self, states: Tensor) -> Posterior:
        """The posterior, of states B x S x D."""
        return Posterior(self.projection(states), None if self.log_variance is None else self.log_variance(states))

    def sample(self, posterior: Posterior) -> Tensor:
        """B x S x Z: a draw of z in training, else its mean."""
        z = posterior.mean
        if self.training and posterior.log_variance is not None:
            deviation = (0.5 * posterior.log_variance.float()).exp()
            z = z + (deviation * torch.randn_like(deviation)).to(z.dtype)
        dropped: Tensor = self.dropout(z)
        return dropped
