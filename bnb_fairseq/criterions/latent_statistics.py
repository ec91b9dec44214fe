"""The loss of a variational latent, and what a log must show for a user to see whether it is used at all.

A unit is active where its mean differs from token to token: the variance of the posterior mean over the data exceeds
0.01 (Burda et al. 2016, section 5). A posterior that collapsed to the prior has none.
"""

import math
from collections.abc import Mapping

import numpy as np
from fairseq.logging import metrics
from torch import Tensor

from ..losses.vae import kl_to_standard_normal, token_mean
from ..modules.canvas import padding_mask
from ..modules.latent import Posterior

ACTIVE_VARIANCE = 0.01
LOGGED_UNITS = 32  # of a wider latent only the smallest and the largest KL of a unit are logged
UNIT_SUMS = ("latent_kl", "latent_mean", "latent_square")


def latent_loss(posterior: Posterior, source_lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the KL term of each sentence: the mean over its tokens of the sum over units.

    Args:
        posterior: of a variational latent, B x S x Z.
        source_lengths: B, true source lengths.

    Returns:
        B, nats; and sums for ``log_latent``: numbers without dimension, as fairseq adds them up over workers.

    Raises:
        ValueError: if the latent has no variance.
    """
    if posterior.log_variance is None:
        raise ValueError("a deterministic latent has no KL term")
    padding = padding_mask(source_lengths, posterior.mean.size(1))
    kl = token_mean(kl_to_standard_normal(posterior.mean, posterior.log_variance), source_lengths, padding)
    mean = posterior.mean.detach().double().masked_fill(padding.unsqueeze(-1), 0.0)
    sums = (kl.detach().sum(dim=0), mean.sum(dim=(0, 1)), mean.square().sum(dim=(0, 1)))
    logs = {
        f"{name}_{unit}": value
        for name, units in zip(UNIT_SUMS, sums, strict=True)
        for unit, value in enumerate(units.unbind())
    }
    logs["latent_tokens"] = source_lengths.sum()
    return kl.sum(dim=1), logs


def log_latent(totals: Mapping[str, float]) -> None:
    """Log KL (bits), KL of single units, and the number of active units.

    Args:
        totals: statistics of some batches, those of ``latent_loss`` among them if the latent is variational;
            ``nsentences`` tells their number.
    """
    units = sum(name.startswith("latent_kl_") for name in totals)
    if units == 0:
        return
    kl, mean, square = (np.array([totals[f"{name}_{unit}"] for unit in range(units)]) for name in UNIT_SUMS)
    sentences, tokens = max(totals["nsentences"], 1), max(totals["latent_tokens"], 1)
    kl = kl / sentences / math.log(2)
    shown = {f"kl_unit_{unit}": kl[unit] for unit in range(units)}
    if units > LOGGED_UNITS:
        shown = {"kl_unit_min": kl.min(), "kl_unit_max": kl.max()}
    for name, value in {"kl_loss": kl.sum(), **shown}.items():
        metrics.log_scalar(name, float(value), sentences, round=3)
    metrics.log_scalar("_latent_mean", mean / tokens, tokens)
    metrics.log_scalar("_latent_square", square / tokens, tokens)
    metrics.log_derived("active_units", _active_units)


def _active_units(meters: Mapping[str, metrics.AverageMeter]) -> int:
    variance = meters["_latent_square"].avg - meters["_latent_mean"].avg ** 2
    return int((variance > ACTIVE_VARIANCE).sum())
