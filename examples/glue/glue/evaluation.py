"""Predictions of a trained classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import utils

import bnb_fairseq.plugin  # noqa: F401  # registers task and model
from bnb_fairseq.checkpoints.reader import load_models

from .metrics import METRICS


class Classifier:
    """A checkpoint, ready to predict.

    Args:
        checkpoint: the file.
        data_bin: data-bin folder with the same dictionaries.
        cpu: do not use a GPU.
    """

    def __init__(self, checkpoint: Path, data_bin: Path, cpu: bool) -> None:
        models, self._task = load_models([checkpoint], {"data": str(data_bin)})
        self._model = models[0].eval()
        self._model.make_generation_fast_()
        self._cuda = torch.cuda.is_available() and not cpu
        if self._cuda:
            self._model.cuda()

    @torch.no_grad()
    def predict(self, split: str, batch_size: int) -> list[str] | list[float]:
        """A label, or in regression a number, for each item of a part, in the order of the file."""
        dataset = self._task.load_dataset(split)
        batches = self._task.get_batch_iterator(dataset, max_sentences=batch_size).next_epoch_itr(shuffle=False)
        predictions: dict[int, Any] = {}
        for batch in batches:
            sample = utils.move_to_cuda(batch) if self._cuda else batch
            head = self._task.cfg.classification_head_name
            with self._task.own_precision():
                logits, _ = self._model(**sample["net_input"], classification_head_name=head)
            if self._task.cfg.regression_target:
                values: list[Any] = logits.float().squeeze(1).tolist()
            else:
                values = [self._task.labels[i] for i in logits.argmax(dim=1).tolist()]
            predictions |= dict(zip(sample["id"].tolist(), values, strict=True))
        return [predictions[i] for i in range(len(dataset))]


def measure(
    metrics: Sequence[str], predicted: Sequence[Any], gold: Sequence[str], regression: bool
) -> dict[str, float]:
    """Metrics of predicted labels or numbers, in percent by name; ``metrics`` are keys of ``METRICS``."""
    truth: Sequence[Any] = [float(label) for label in gold] if regression else gold
    return {name: METRICS[name].compute(predicted, truth) for name in metrics}


def write_submission(
    path: Path, predicted: Sequence[Any], index: Sequence[str], bounds: tuple[float, float] | None
) -> None:
    """Write predictions in the format of GLUE's server: ``index <tab> prediction``.

    Args:
        path: the file.
        predicted: labels or numbers.
        index: the examples' numbers.
        bounds: limits to which numbers are clipped; None: labels.
    """
    if bounds is not None:
        predicted = [f"{min(max(value, bounds[0]), bounds[1]):.3f}" for value in predicted]
    rows = [f"{i}\t{value}\n" for i, value in zip(index, predicted, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(["index\tprediction\n", *rows]), encoding="utf-8")
