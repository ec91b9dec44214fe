"""Interrupted trainings that, once resumed, end as an uninterrupted one does, to the last bit."""

import logging
from typing import Any

from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterating
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig
from torch import nn

from ..compat import EarlyStopping, early_stopping, set_early_stopping, whole_options
from ..resuming.interrupted import begin_save, end_save, mend
from ..resuming.restored import Progress, checkpoint_to_restore, read_progress, read_task_extras
from .finite import check_parameters

FIRST_EPOCH = 1
NO_EPOCH = -1  # as fairseq's last epoch: none is trained; 0 would be no limit
logger = logging.getLogger(__name__)


class ResumingTask(FairseqTask):
    """Mixin for tasks whose trainings resume exactly; list it before the fairseq task."""

    trained: nn.Module | None = None  # what train_step trains
    updates: int | None = None  # made so far

    def prepare_resuming(self) -> None:
        """Complete an interrupted save, and train nothing if the training is finished.

        fairseq would make one more update and write its checkpoints again.

        Raises:
            OSError: if there is no room for a copy of a checkpoint.
            ValueError: if the checkpoint to resume from is damaged, and no other is whole.
        """
        whole = whole_options(self.cfg)
        if whole is None:
            return
        mend(whole.checkpoint)
        path = checkpoint_to_restore(whole.checkpoint)
        progress = None if path is None else read_progress(path)
        if path is None or progress is None or str(path) == whole.checkpoint.finetune_from_model:
            return
        reason = end_reached(whole, progress, read_task_extras(path, type(self).__name__).get("bad_validations", 0))
        if reason is not None:
            logger.info("%s is of a finished training (%s): %s; nothing to do", path, progress, reason)
            whole.optimization.max_epoch = NO_EPOCH

    def can_reuse_epoch_itr(self, dataset: FairseqDataset) -> bool:
        """See fairseq; False for a data set that the task does not hold, whose batches would accumulate."""
        held = any(dataset is each for each in self.datasets.values())
        return held and bool(super().can_reuse_epoch_itr(dataset))

    def get_checkpoint_dict(self) -> dict[str, dict[str, Any]]:
        """See fairseq; begins a save, with the state of early stopping.

        Raises FloatingPointError, naming the first parameter that is not finite, before any checkpoint is overwritten.
        """
        whole = whole_options(self.cfg)
        if self.trained is not None:
            check_parameters(self.trained, self.updates)
        if whole is not None and not whole.checkpoint.no_last_checkpoints:
            begin_save(whole.checkpoint)
        return {type(self).__name__: early_stopping()._asdict()}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """See fairseq; restores the state of early stopping."""
        set_early_stopping(EarlyStopping(state.get("best"), int(state.get("bad_validations", 0))))

    def post_save(self, path: str, updates: int) -> None:
        """See fairseq; notes that a save is complete."""
        whole = whole_options(self.cfg)
        if whole is not None:
            end_save(whole.checkpoint)

    def get_batch_iterator(
        self, dataset: FairseqDataset, *arguments: Any, epoch: int = FIRST_EPOCH, **options: Any
    ) -> EpochBatchIterating:
        """See fairseq; batches that serve all epochs are those of the first, whichever epoch the process starts in.

        fairseq draws the order of equally long items from ``seed`` plus the epoch that the process starts in.
        """
        renewed = options.get("disable_iterator_cache") or options.get("update_epoch_batch_itr")
        if renewed or not self.can_reuse_epoch_itr(dataset):
            return super().get_batch_iterator(dataset, *arguments, epoch=epoch, **options)
        known = self.dataset_to_epoch_iter.get(dataset)
        if known is not None:
            return known
        whole = whole_options(self.cfg)
        if whole is not None and whole.dataset.update_ordered_indices_seed and "seed" in options:
            options["seed"] += FIRST_EPOCH - epoch  # fairseq's trainer has added the epoch
        iterator = super().get_batch_iterator(dataset, *arguments, epoch=FIRST_EPOCH, **options)
        iterator.epoch = max(epoch, FIRST_EPOCH)
        dataset.set_epoch(epoch)
        return iterator


def end_reached(whole: DictConfig, progress: Progress, bad_validations: int) -> str | None:
    """The option, with its value, by which a training has nothing left to do; None if it has.

    ``bad_validations`` is the number of validations in a row without a better value.
    """
    limits, files = whole.optimization, whole.checkpoint
    counted = progress.has_optimizer and not files.reset_optimizer
    if counted and 0 < limits.max_update <= progress.updates:
        return f"--max-update {limits.max_update}"
    if not files.reset_dataloader and 0 < limits.max_epoch < progress.epoch:
        return f"--max-epoch {limits.max_epoch}"
    if 0 < limits.stop_time_hours < progress.hours:
        return f"--stop-time-hours {limits.stop_time_hours} of {progress.hours:.2f}"
    if not files.reset_dataloader and 0 < files.patience <= bad_validations:
        return f"--patience {files.patience}"
    return None
