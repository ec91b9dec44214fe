"""The base of all tasks: dictionaries that take raw text and travel in checkpoints, and the precision of training."""

import os
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from fairseq.criterions import FairseqCriterion
from fairseq.data import FairseqDataset
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from torch import Tensor

from ..checkpoints.reader import DIGEST
from ..checkpoints.tensors import tensor_digest
from ..checkpoints.trust import check_model_options, is_own
from ..compat import end_earlier_logs, whole_options
from ..data.dictionary import BnbDictionary, load_dictionary
from ..data.digest import DictionaryDigest, check_same_dictionary
from ..data.preflight import check_preprocessing_command, running_preprocessing
from ..data.whole_batches import WHOLE
from ..models.config import read_upsample
from ..processes import check_joined, draw_other_numbers
from ..resuming.restored import checkpoint_to_restore, read_task_state
from ..start.row_matching import symbol_state
from ..torch_compat import matmul_precision, multiplying_in_bfloat16
from .finite import check_loss, gradient_error
from .resuming import ResumingTask
from .shards import handle_no_batches, read_shard, refuse_shards

SWEEP_RECORD = "sweep.txt"  # in the folder of the checkpoints: the options of the run that they belong to
LENGTHS = ("optimization.max_update=", "optimization.max_epoch=", "optimization.stop_time_hours=")
SHARDED = "fully_sharded"  # --ddp-backend under which no process has the whole model


class DictionaryTask(ResumingTask):
    """Mixin for tasks with this package's dictionaries; list it before the fairseq task.

    Attributes:
        reads_segments: whether a tab in a source line ends a segment; see ``BnbDictionary``.
        trains: whether a model was built for training, not to load a checkpoint.
    """

    reads_segments: ClassVar[bool] = False
    trains: bool = False
    _in_training: weakref.ref[BaseFairseqModel] | None = None

    def own_precision(self) -> AbstractContextManager[None]:
        """Context in which matrix products have the precision of ``--float32-matmul-precision``."""
        return matmul_precision(str(self.cfg.float32_matmul_precision))

    def dictionaries(self) -> dict[str, BnbDictionary]:
        """The dictionaries by side; ``source`` is that of the input."""
        return {"source": self.source_dictionary, "target": self.target_dictionary}

    @classmethod
    def load_dictionary(cls, filename: str) -> BnbDictionary:
        """See fairseq; accepts all that ``bnb_fairseq.data.dictionary.load_dictionary`` does."""
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
        """See fairseq: digests and symbols of the dictionaries, and a digest of the model in training.

        The digests are compared with the data's when a checkpoint is loaded, or with its tensors to detect damage; by
        the symbols ``--pretrained-checkpoint`` starts a model with other dictionaries.
        """
        sides = self.dictionaries()
        state: dict[str, Any] = {
            "dictionaries": {side: dictionary.digest().state() for side, dictionary in sides.items()},
            "symbols": {side: symbol_state(dictionary) for side, dictionary in sides.items()},
        }
        model = None if self._in_training is None else self._in_training()
        if model is not None and str(self.cfg.ddp_backend) != SHARDED:
            state[DIGEST] = tensor_digest(model.state_dict())
        return state

    def begin_model(self, cfg: Any, from_checkpoint: bool) -> None:
        """Check a model's options before it is built; ``from_checkpoint``: a checkpoint's, else a new training's.

        Raises ValueError if fairseq must not see them, they name no model, or the training would resume from a
        checkpoint that does not fit.
        """
        if from_checkpoint:
            check_model_options(cfg)
            return
        name = cfg.get("_name") or cfg.get("arch") if isinstance(cfg, DictConfig) else None
        if isinstance(cfg, DictConfig) and name not in {*ARCH_MODEL_REGISTRY, *MODEL_REGISTRY}:
            known = ", ".join(name for name, model in ARCH_MODEL_REGISTRY.items() if is_own(model))
            raise ValueError(f"--arch must be {known} or a model of fairseq, but is {name}")
        read_upsample(cfg)
        self.start_training()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See fairseq; refuses a checkpoint with other dictionaries than the data-bin's (ValueError)."""
        self._compare(state_dict, text_may_differ=False)

    def check_restored(self) -> None:
        """Complete an interrupted save, and compare the dictionaries of the checkpoint to resume from with the data's.

        Raises:
            OSError: if there is no room to complete it.
            ValueError: if they differ, or the checkpoint cannot be trusted, or is damaged and no other is whole.
        """
        self.prepare_resuming()
        path = checkpoint_to_restore(self.cfg)
        if path is not None:
            state = read_task_state(path)
            try:
                self._compare(state, text_may_differ=True)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def _compare(self, state: Mapping[str, Any], text_may_differ: bool) -> None:
        mine = self.dictionaries()
        for side, digest in state.get("dictionaries", {}).items():
            if side in mine:
                trained = DictionaryDigest.of_state(digest)
                check_same_dictionary(side, mine[side].digest(), trained, text_may_differ)

    def start_training(self) -> None:
        """Check the task's options before a model is built for training.

        Raises:
            ValueError: if other processes do not train together with this one, the options select a shard of the data,
                another run of a sweep uses the folder of checkpoints, or the checkpoint to resume from does not fit.
        """
        if (whole := whole_options(self.cfg)) is not None:
            check_joined(whole)
        refuse_shards(self.cfg, "in training, --distributed-world-size divides the data")
        begin_run_of_sweep(self.cfg)
        self.check_restored()
        self.trains = True

    def need_targets(self, path: str) -> None:
        """Raise a ValueError in training, because there is no ``path`` with targets to train on or to validate with."""
        if self.trains:
            raise ValueError(f"training and validation need targets, but there is no {path}")

    @staticmethod
    def check_targets(sample: dict[str, Any]) -> None:
        """Refuse a batch of ``fairseq-validate`` without targets, by a ValueError."""
        if sample and sample.get("target") is None:
            raise ValueError("validation needs targets, but the part that --valid-subset names has none")

    def get_batch_iterator(self, dataset: FairseqDataset, *sizes: Any, **options: Any) -> Any:
        """See fairseq; generation reads one shard. Refuses missing shards and parts without batches (ValueError)."""
        name = next((name for name, part in self.datasets.items() if part is dataset), None)
        if name is None:
            refuse_shards(self.cfg, "lines that were typed are not divided")
            return super().get_batch_iterator(dataset, *sizes, **options)
        dataset.shard = WHOLE if self.trains else read_shard(self.cfg)
        iterator = super().get_batch_iterator(dataset, *sizes, **options)
        if not iterator.frozen_batches:
            handle_no_batches(name, len(dataset), dataset.shard)
        return iterator

    def valid_step(
        self, sample: dict[str, Any], model: BaseFairseqModel, criterion: FairseqCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """See fairseq; in the model's precision."""
        self.check_targets(sample)
        with self.own_precision():
            loss, size, logs = super().valid_step(sample, model, multiplying_in_bfloat16(criterion))
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
        """See fairseq; in the model's precision. Refuses a loss or gradient that is not finite (FloatingPointError)."""
        self.trained, self.updates = model, update_num + 1
        draw_other_numbers()
        try:
            with self.own_precision():
                criterion = multiplying_in_bfloat16(criterion)
                loss, size, logs = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        except StopIteration as error:  # of fairseq's search for the NaN, which torch's hooks cannot follow into lists
            raise gradient_error(sample, update_num + 1) from error
        if getattr(optimizer, "scaler", None) is None:  # else a step that overflows is repeated at another scale
            check_loss(loss, sample, update_num + 1)
        return loss, size, logs


def begin_run_of_sweep(cfg: Any) -> None:
    """Refuse a folder of checkpoints that another run of a sweep uses, and end the logs of an earlier one.

    Outside a sweep, do nothing. A run that is started again has the same options, except for how long it trains.

    Raises ValueError if ``--save-dir`` holds a run with other options.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    end_earlier_logs()
    folder = Path(cfg.save_dir)
    record = folder / SWEEP_RECORD
    mine = sorted(option for option in HydraConfig.get().overrides.task if not option.startswith(LENGTHS))
    if record.is_file():
        theirs = record.read_text(encoding="utf-8").splitlines()
    elif (folder / "checkpoint_last.pt").is_file():
        theirs = ["options of no sweep"]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = record.with_suffix(f".{os.getpid()}")
        unfinished.write_text("".join(f"{option}\n" for option in mine), encoding="utf-8")
        unfinished.replace(record)
        return
    if theirs != mine:
        others = ", ".join(sorted(set(theirs) - set(mine))) or "fewer options"
        own = ", ".join(sorted(set(mine) - set(theirs))) or "fewer options"
        raise ValueError(
            f"checkpoint.save_dir must differ between the runs of a sweep, but {folder} holds the run with {others}, "
            f"and this one has {own}: set checkpoint.save_dir='${{hydra:runtime.output_dir}}' and a new hydra.sweep.dir"
        )
