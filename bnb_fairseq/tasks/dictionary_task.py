"""What all tasks share: dictionaries that take raw text and travel in checkpoints, and the precision of training."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from fairseq.criterions import FairseqCriterion
from fairseq.models import BaseFairseqModel
from torch import Tensor

from ..compat import matmul_precision, multiplying_in_bfloat16
from ..data.dictionary import BnbDictionary, load_dictionary
from ..data.digest import DictionaryDigest, check_same_dictionary
from ..data.preflight import check_preprocessing_command, running_preprocessing
from ..models.restored import checkpoint_to_restore, read_task_state
from ..models.row_matching import symbol_state
from .finite import check_loss, gradient_error
from .resuming import ResumingTask


class DictionaryTask(ResumingTask):
    """Stands in front of one of fairseq's tasks among a task's base classes.

    Attributes:
        reads_segments: whether a tab in a source line ends a segment; see ``BnbDictionary``.
    """

    reads_segments: ClassVar[bool] = False

    def own_precision(self) -> AbstractContextManager[None]:
        """Multiply as ``--float32-matmul-precision`` says, while what it returns lasts."""
        return matmul_precision(str(self.cfg.float32_matmul_precision))

    def dictionaries(self) -> dict[str, BnbDictionary]:
        """Return the dictionaries by side; that of what is read is ``source``."""
        return {"source": self.source_dictionary, "target": self.target_dictionary}

    @classmethod
    def load_dictionary(cls, filename: str) -> BnbDictionary:
        """Load what ``--srcdict`` and ``--tgtdict`` accept, or a data-bin's dictionary.

        Args:
            filename: see ``bnb_fairseq.data.dictionary.load_dictionary``.

        Returns:
            The dictionary.
        """
        cls.check_preprocessing()
        dictionary = load_dictionary(filename)
        dictionary.preprocessing = running_preprocessing()
        dictionary.reads_segments = cls.reads_segments
        return dictionary

    @classmethod
    def check_preprocessing(cls) -> None:
        """Check the text files of ``fairseq-preprocess``, which shows a task only the dictionaries."""
        check_preprocessing_command()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint remembers of the task: digests of its dictionaries, and what the symbols stand for.

        The first are compared with the data's when the checkpoint is loaded, the second let ``--pretrained-checkpoint``
        start a model with other dictionaries.
        """
        sides = self.dictionaries()
        return {
            "dictionaries": {side: dictionary.digest().state() for side, dictionary in sides.items()},
            "symbols": {side: symbol_state(dictionary) for side, dictionary in sides.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare a checkpoint's dictionaries with the data-bin's.

        Args:
            state_dict: what ``state_dict`` returned when the checkpoint was written.

        Raises:
            ValueError: if they differ.
        """
        self._compare(state_dict, text_may_differ=False)

    def check_restored(self) -> None:
        """Compare the dictionaries of the checkpoint that a training is about to go on from, which fairseq does not.

        A save that was interrupted is completed first.

        Raises:
            OSError: if there is no room for that.
            ValueError: if they differ, or a checkpoint is damaged and nothing can take its place.
        """
        self.prepare_resuming()
        path = checkpoint_to_restore(self.cfg)
        if path is not None:
            try:
                self._compare(read_task_state(path), text_may_differ=True)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def _compare(self, state: Mapping[str, Any], text_may_differ: bool) -> None:
        mine = self.dictionaries()
        for side, digest in state.get("dictionaries", {}).items():
            if side in mine:
                trained = DictionaryDigest.of_state(digest)
                check_same_dictionary(side, mine[side].digest(), trained, text_may_differ)

    def valid_step(
        self, sample: dict[str, Any], model: BaseFairseqModel, criterion: FairseqCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of a validation batch in the model's precision; see fairseq's."""
        with self.own_precision():
            loss, size, logs = super().valid_step(sample, model, criterion)
        return loss, size, logs

    def train_step(
        self,
        sample: dict[str, Any],
        model: BaseFairseqModel,
        criterion: FairseqCriterion,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of a batch and its gradient, on a CPU as ``--float32-matmul-precision`` allows.

        Args:
            sample: the batch.
            model: the model, perhaps in fairseq's distributed wrappers.
            criterion: the criterion.
            optimizer: it computes the gradient.
            update_num: updates made so far.
            ignore_grad: fairseq's flag for a batch that must not count.

        Returns:
            The loss, the sample size, and statistics for the log.

        Raises:
            FloatingPointError: if the loss or its gradient is NaN or infinite.
        """
        self.trained, self.updates = model, update_num + 1
        try:
            with self.own_precision():
                criterion = multiplying_in_bfloat16(criterion)
                loss, size, logs = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        except StopIteration as error:  # of fairseq's search for the NaN, which torch's hooks cannot follow into lists
            raise gradient_error(sample, update_num + 1) from error
        if getattr(optimizer, "scaler", None) is None:  # else a step that overflows is repeated at another scale
            check_loss(loss, sample, update_num + 1)
        return loss, size, logs
