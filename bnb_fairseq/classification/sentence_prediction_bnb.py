"""The ``sentence_prediction_bnb`` task: classification or regression of texts and pairs of texts."""

import logging
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from torch import Tensor

from ..checkpoints.commands import check_named
from ..criterions.validation_metrics import ALWAYS, check_best_metric
from ..data.dictionary import BnbDictionary, load_dictionary
from ..data.parts import in_all, joined, load_parts
from ..data.storage import open_items
from ..models.config import BertSeq2SeqConfig, BnbTransformerConfig
from ..tasks.dictionary_task import DictionaryTask
from ..tasks.unused_options import NETWORK, Effect, Unused, described, has_value, without_effect
from .bnb_classifier import BnbClassifier
from .classifier_config import BnbClassifierConfig
from .classifier_start import resolve_start, start_classifier
from .labels import label_names, load_classes, load_label_dictionary, load_numbers
from .segments import Segments, SegmentsDataset
from .sentence_prediction_config import (
    SentencePredictionBnbConfig,
    check_options,
    check_reports,
    classification_metrics,
    count_classes,
)

logger = logging.getLogger(__name__)
OF_DECODER = tuple(
    name for name in BnbTransformerConfig.__dataclass_fields__ if name not in BertSeq2SeqConfig.__dataclass_fields__
)
UNUSED = (
    *NETWORK,
    Effect(
        (*OF_DECODER, "cross_attention_init", "untie_output"),
        "--classify-with decoder",
        has_value("classify_with", "decoder"),
    ),
)


def unused_options(cfg: Any) -> Unused:
    """Options of a classifier that have no effect; none of another model, which is refused later."""
    return without_effect(cfg, BnbClassifierConfig, UNUSED) if hasattr(cfg, "classify_with") else {}


@register_task("sentence_prediction_bnb", dataclass=SentencePredictionBnbConfig)
class SentencePredictionBnbTask(DictionaryTask, SentencePredictionTask):
    """Classification or regression on a data-bin folder in fairseq's layout for GLUE: input0, input1 and label.

    Texts are raw, split by the tokenizer of ``input0/dict.txt``, whose ids are BERT's. An item is ``[CLS] A [SEP]`` or
    ``[CLS] A [SEP] B [SEP]``; no option names these symbols. In regression the label dictionary is that of the texts.

    Raises ValueError if an option is set that has no effect here, or contradicts the labels.
    """

    def __init__(
        self, cfg: SentencePredictionBnbConfig, data_dictionary: BnbDictionary, label_dictionary: BnbDictionary
    ) -> None:
        super().__init__(cfg, data_dictionary, label_dictionary)
        check_options(cfg)
        self.labels = [] if cfg.regression_target else label_names(label_dictionary)
        cfg.num_classes = count_classes(cfg, self.labels)
        self._positions: list[int] = []  # longest item of each model that was built

    @classmethod
    def setup_task(cls, cfg: SentencePredictionBnbConfig, from_checkpoint: bool = False) -> "SentencePredictionBnbTask":
        """See fairseq; refuses missing dictionaries and damaged or untrusted checkpoints (ValueError)."""
        check_named(cfg)
        path = Path(cfg.data, "input0", "dict.txt")
        if not path.is_file():
            raise ValueError(f"data must be a folder with input0, input1 (for pairs) and label, but has no {path}")
        texts = load_dictionary(str(path))
        logger.info("[input] dictionary: %d types", len(texts))
        if cfg.regression_target:
            return cls(cfg, texts, texts)
        labels = load_label_dictionary(Path(cfg.data, "label", "dict.txt"))
        logger.info("[label] dictionary: %d labels", len(label_names(labels)))
        return cls(cfg, texts, labels)

    def load_dataset(self, split: str, combine: bool = False, **_: Any) -> SegmentsDataset:
        """Load a part of the data; ``combine`` joins numbered parts such as ``train1``.

        Raises FileNotFoundError if the part does not exist. Raises ValueError if texts and labels differ in number, a
        label is unknown, items are too long, only some of the numbered parts have labels, or none has before a
        training.
        """
        parts = load_parts(lambda name: self._part(name, split), split, combine)
        segments = joined([segments for segments, _ in parts.values()])
        labels = in_all("labels", {name: targets for name, (_, targets) in parts.items()})
        targets = None if labels is None else torch.cat(labels)
        if targets is None:
            self.need_targets(str(Path(self.cfg.data, "label", split)))
        shuffle = split == self.cfg.train_subset and not self.cfg.no_shuffle
        self.datasets[split] = SegmentsDataset(segments, self.dictionary.pad(), targets, shuffle)
        kind = "without labels" if targets is None else "with labels"
        logger.info("%s: %d items %s", split, len(segments), kind)
        return self.datasets[split]

    def _part(self, name: str, split: str) -> tuple[Segments, Tensor | None]:
        """Texts and labels of ``name``, which is ``split`` or a numbered part of it."""
        first, second = self._texts("input0", name), self._texts("input1", name)
        if first is None:
            raise FileNotFoundError(f"no {name} in {Path(self.cfg.data, 'input0')}")
        segments = self._shortened(name, split, first, second)
        targets = self._targets(name)
        if targets is not None and len(targets) != len(segments):
            raise ValueError(f"{name} has {len(segments):,} texts in {self.cfg.data}, but {len(targets):,} labels")
        return segments, targets

    def _texts(self, name: str, split: str) -> Sequence[Tensor] | None:
        return open_items(str(Path(self.cfg.data, name, split)), self.dictionary, self.cfg.dataset_impl)

    def _targets(self, split: str) -> Tensor | None:
        prefix = str(Path(self.cfg.data, "label", split))
        if self.cfg.regression_target:
            return load_numbers(Path(f"{prefix}.label"), self.cfg.num_classes)
        return load_classes(prefix, self.label_dictionary, self.cfg.dataset_impl)

    def _shortened(self, name: str, split: str, first: Sequence[Tensor], second: Sequence[Tensor] | None) -> Segments:
        """Join the texts; shorten or refuse items that are too long."""
        longest = min([self.cfg.max_positions, *self._positions])
        chosen = [name for name in self.cfg.shorten_data_split_list.split(",") if name]
        shorten = str(self.cfg.shorten_method) == "truncate" and (not chosen or split in chosen)
        segments = Segments(first, second, self.dictionary.bos(), longest if shorten else None)
        if shorten:
            share = segments.shortened / max(len(segments), 1)
            logger.info(
                f"{name}: {segments.shortened:,} of {len(segments):,} items ({share:.1%}) cut to {longest} tokens"
            )
        elif (long := segments.sizes > longest).any():
            worst = int(segments.sizes.argmax())
            raise ValueError(
                f"{name}: {int(long.sum()):,} of {len(segments):,} items are too long: item {worst} has "
                f"{segments.sizes[worst]} tokens, but --max-positions and the model allow {longest}; to cut them, use "
                f"--shorten-method truncate"
            )
        return segments

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """See fairseq; starts from the options' BERT or checkpoint, and refuses models without heads (ValueError)."""
        self.begin_model(cfg, from_checkpoint)
        if not from_checkpoint and (unused := unused_options(cfg)):
            raise ValueError("; ".join(described(unused)))
        name = getattr(cfg, "_name", None)
        start = None if from_checkpoint or not hasattr(cfg, "classify_with") else resolve_start(cfg)
        model = FairseqTask.build_model(self, cfg, from_checkpoint)
        self._in_training = None if from_checkpoint else weakref.ref(model)
        if not hasattr(model, "register_classification_head"):
            raise ValueError(f"--arch must be a model with classification heads, such as bnb_classifier, but is {name}")
        head_name = self.cfg.classification_head_name
        model.register_classification_head(head_name, num_classes=self.cfg.num_classes)
        if isinstance(model, BnbClassifier):
            if start is not None:
                start_classifier(model, start, head_name, cfg)
            model.body.freeze_unused()
            self._positions.append(model.max_positions())
        return model

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> FairseqCriterion:
        """See fairseq; refuses metrics that do not fit the labels or the criterion (ValueError)."""
        check_reports(cfg, self.labels)
        if self.trains:
            found = classification_metrics(cfg, self.cfg.regression_target)
            metric, maximize = self.cfg.best_checkpoint_metric, self.cfg.maximize_best_checkpoint_metric
            check_best_metric(metric, maximize, ALWAYS, found)
        return super().build_criterion(cfg, from_checkpoint)

    def dictionaries(self) -> dict[str, BnbDictionary]:
        """The dictionaries of the texts and the labels."""
        return {"source": self.dictionary, "label": self.label_dictionary}
