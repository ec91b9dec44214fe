"""The latent variable between encoder and decoder."""

from torch import Tensor, nn

from .layers import init_linear


class DeterministicLatent(nn.Module):
    """z = W_e H, one vector of width Z for every source token; with Z = 0, z is H itself.

    Args:
        embed_dim: width of the encoder states.
        latent_size: Z.
        dropout: on z.
    """

    def __init__(self, embed_dim: int, latent_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_size = latent_size or embed_dim
        self.projection = nn.Linear(embed_dim, latent_size) if latent_size else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        if isinstance(self.projection, nn.Linear):
            init_linear(self.projection)

    def forward(self, states: Tensor) -> Tensor:
        """Project encoder states.

        Args:
            states: B x S x D.

        Returns:
            B x S x Z.
        """
        latent: Tensor = self.dropout(self.projection(states))
        return latent
