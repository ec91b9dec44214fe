"""The divergence of a latent's posterior from its prior."""

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute KL(N(mean, exp(log_variance)) || N(0, 1)) of every unit (Kingma and Welling 2014, appendix B).

    Args:
        mean: any shape, any floating type.
        log_variance: the same.

    Returns:
        The same shape, nats, at least float32: (mean^2 + exp(log_variance) - log_variance - 1) / 2.
    """
    if mean.itemsize < 4:
        mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def token_mean(values: Tensor, lengths: Tensor, padding: Tensor) -> Tensor:
    """Average over each sentence's true tokens.

    Args:
        values: B x S x Z.
        lengths: B, true lengths.
        padding: B x S, True at padding.

    Returns:
        B x Z.
    """
    return values.masked_fill(padding.unsqueeze(-1), 0.0).sum(dim=1) / lengths.clamp(min=1).unsqueeze(-1)
