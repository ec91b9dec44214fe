"""The loss of a variational latent, and statistics that show whether the model uses it.

A unit is active if its mean varies from token to token: the variance of the posterior mean over the data exceeds 0.01
(Burda et al. 2016, section 5). A posterior that collapsed to the prior has no active unit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fairseq.logging import metrics
from numpy.typing import NDArray
from torch import Tensor

from ..modules.canvas import padding_mask
from ..modules.latent import Posterior
from .logged import Average, Derived

LOGGED = (Average("kl_factor", "kl_factor_sum", "sentence", False, "weight of the KL term"),)
DERIVED = (
    Derived("kl_loss", "bits per source token", "KL term, averaged over the sentences, summed over the units"),
    Derived("kl_unit_N", "bits per source token", "KL of unit N; above 32 units only `kl_unit_min` and `kl_unit_max`"),
    Derived("active_units", "units", "those whose mean varies from token to token"),
)
ACTIVE_VARIANCE = 0.01
LOGGED_UNITS = 32  # of a wider latent only the smallest and the largest KL of a unit are logged


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every unit, nats, float32 or wider (Kingma and Welling 2014)."""
    if mean.itemsize < 4:
        mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def token_mean(values: Tensor, lengths: Tensor, padding: Tensor) -> Tensor:
    """Mean over each sentence's true tokens: B x S x Z -> B x Z; ``padding`` is B x S, True at padding."""
    return values.masked_fill(padding.unsqueeze(-1), 0.0).sum(dim=1) / lengths.clamp(min=1).unsqueeze(-1)


def latent_loss(posterior: Posterior, source_lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """KL of each sentence: summed over units, averaged over its tokens.

    Args:
        posterior: of a variational latent, B x S x Z.
        source_lengths: B, true source lengths.

    Returns:
        B, nats; and sums for ``log_latent``, of Z values each, with the number of tokens.
    """
    if posterior.log_variance is None:
        raise ValueError("a deterministic latent has no KL term")
    padding = padding_mask(source_lengths, posterior.mean.size(1))
    kl = token_mean(kl_to_standard_normal(posterior.mean, posterior.log_variance), source_lengths, padding)
    mean = posterior.mean.detach().double().masked_fill(padding.unsqueeze(-1), 0.0)
    logs = {
        "latent_kl": kl.detach().sum(dim=0),
        "latent_mean": mean.sum(dim=(0, 1)),
        "latent_square": mean.square().sum(dim=(0, 1)),
        "latent_tokens": source_lengths.sum(),
    }
    return kl.sum(dim=1), logs


def log_latent(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log KL (bits), KL of single units, and the number of active units, if the statistics have any."""
    if not any("latent_kl" in log for log in logging_outputs):
        return

    def total(name: str) -> NDArray[np.float64]:
        return np.sum([torch.as_tensor(log[name]).double().cpu().numpy() for log in logging_outputs], axis=0)

    sentences, tokens = float(total("nsentences")), float(total("latent_tokens"))
    kl = total("latent_kl") / max(sentences, 1) / math.log(2)
    shown = {f"kl_unit_{unit}": value for unit, value in enumerate(kl)}
    if len(kl) > LOGGED_UNITS:
        shown = {"kl_unit_min": kl.min(), "kl_unit_max": kl.max()}
    for name, value in {"kl_loss": kl.sum(), **shown}.items():
        metrics.log_scalar(name, float(value), sentences, round=3)
    for name in ("latent_mean", "latent_square"):
        metrics.log_scalar(f"_{name}", total(name) / max(tokens, 1), tokens)
    metrics.log_derived("active_units", _active_units)


def _active_units(meters: Mapping[str, metrics.AverageMeter]) -> int:
    variance = meters["_latent_square"].avg - meters["_latent_mean"].avg ** 2
    return int((variance > ACTIVE_VARIANCE).sum())
