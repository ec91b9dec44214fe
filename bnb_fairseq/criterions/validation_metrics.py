"""The metrics that a validation logs, known before the training: the choices of ``--best-checkpoint-metric``."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics

from ..network.options import NetworkOptions
from . import canvas_loss, length_loss, token_loss
from .bnb_loss import BnbLoss
from .latent_statistics import LOGGED_UNITS

ALWAYS = {"loss", "wps", "wpb", "bsz", "num_updates"}  # of fairseq's trainer and task
UNIT = "kl_unit_"
BETTER = {False: ("loss", "ppl", "error", "overflow"), True: ("accuracy", "bleu", "rouge", "meteor", "mcc", "f1")}
logger = logging.getLogger(__name__)


class AnyStatistics(dict[str, Any]):
    """Statistics of a batch in which every entry is 1 unless set."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> float:
        return 1.0

    def get(self, name: str, default: Any = None) -> Any:
        """The entry, never the default."""
        return self[name]


def logged_metrics(criterion: FairseqCriterion, options: NetworkOptions | None) -> set[str] | None:
    """Names of the metrics that a criterion logs in validation; None if they cannot be known before.

    ``options`` are those of a non-autoregressive model, None for any other.
    """
    if isinstance(criterion, BnbLoss) and options is not None:
        return ALWAYS | _of_bnb_loss(criterion, options)
    # fairseq's criterions log some metrics only where their options make a difference.
    size = 2.0 if getattr(criterion, "sentence_avg", False) else 1.0
    counts = {} if getattr(criterion, "report_accuracy", True) else {"total": 0, "n_correct": 0}
    statistics: Mapping[str, Any] = AnyStatistics({"sample_size": size, **counts})
    try:
        with metrics.aggregate(new_root=True) as logged:
            type(criterion).reduce_metrics([statistics])
            return ALWAYS | set(logged)
    except Exception:  # another package's criterion, with statistics that are no numbers
        return None


def _of_bnb_loss(criterion: BnbLoss, options: NetworkOptions) -> set[str]:
    if options.length_control == "ctc":
        unsmoothed = {"uniform_kl"} if criterion.label_smoothing == 0 else set()
        found = {average.name for average in canvas_loss.LOGGED} - unsmoothed
    else:
        kind = criterion.token_loss.kind
        found = {"nll_loss", *(average.name for average in length_loss.LOGGED)}
        found |= {average.name for average in token_loss.LOGGED if average.name.startswith(f"{kind}_")}
    if units := options.latent_size if options.vae else 0:
        names = ("min", "max") if units > LOGGED_UNITS else range(units)
        found |= {"kl_factor", "kl_loss", "active_units", *(f"{UNIT}{name}" for name in names)}
    return found


def check_best_metric(metric: str, maximize: bool, known: Collection[str] | None, more: Collection[str]) -> None:
    """Check ``--best-checkpoint-metric``, and warn if ``--maximize-best-checkpoint-metric`` would keep the worst.

    Args:
        metric: its value.
        maximize: ``--maximize-best-checkpoint-metric``.
        known: metrics of the criterion; None: not known.
        more: metrics of the task.

    Raises:
        ValueError: listing the valid metrics, if it is none of them.
    """
    if any(part in metric for part in BETTER[not maximize]):
        fault = "must not be set" if maximize else "is needed"
        logger.warning("--maximize-best-checkpoint-metric %s with --best-checkpoint-metric %s", fault, metric)
    if known is None or metric in known or metric in more:
        return
    shown = sorted(name for name in {*known, *more} if not name.startswith(UNIT))
    raise ValueError(
        f"--best-checkpoint-metric must be a metric that this training's validation logs, one of {', '.join(shown)}, "
        f"but is {metric}"
    )
