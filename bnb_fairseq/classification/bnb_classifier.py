"""The ``bnb_classifier`` model: the encoder, or the whole ``bnb_transformer``, and a head that classifies or scores."""

from collections.abc import Mapping
from typing import Any, Protocol

from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from torch import Tensor, nn

from ..data.dictionary import BnbDictionary
from ..models.config import BERT_BASE, SMALL, TINY, architecture, complete_sizes
from ..models.task_with_dictionaries import require_own_task
from .classification_head import ClassificationHead
from .classifier_bodies import BODIES, DecoderBody, EncoderBody
from .classifier_config import BnbClassifierConfig, check_options


class TaskWithSource(Protocol):
    """What the model needs of a fairseq task."""

    @property
    def source_dictionary(self) -> BnbDictionary:
        """The dictionary of the texts."""


@register_model("bnb_classifier", dataclass=BnbClassifierConfig)
class BnbClassifier(BaseFairseqModel):
    """Classifies or scores a text or a pair of texts; works with fairseq's ``sentence_prediction`` criterion.

    Args:
        body: what reads the text.
        head_dropout: dropout probability in the heads.
    """

    def __init__(self, body: EncoderBody | DecoderBody, head_dropout: float) -> None:
        super().__init__()
        self.body = body
        self.classification_heads = nn.ModuleDict()
        self._head_dropout = head_dropout

    @classmethod
    def build_model(cls, cfg: BnbClassifierConfig, task: TaskWithSource) -> "BnbClassifier":
        """Build a model with random weights and no head yet; sizes left open are bert-base's.

        Args:
            cfg: the options.
            task: has the dictionary.

        Returns:
            The model.

        Raises:
            ValueError: if the task is another package's, or options are out of range or do not fit each other.
        """
        require_own_task("bnb_classifier", task, [task.source_dictionary], "sentence_prediction_bnb")
        for side in ("encoder", "decoder"):
            complete_sizes(cfg, side, BERT_BASE)
        check_options(cfg)
        return cls(BODIES[str(cfg.classify_with)](cfg, task.source_dictionary), cfg.pooler_dropout)

    def register_classification_head(self, name: str, num_classes: int) -> None:
        """Add a head; the task calls this.

        Args:
            name: its name, ``--classification-head-name``.
            num_classes: C, classes or numbers to predict.

        Raises:
            ValueError: if the model has a head of this name.
        """
        if name in self.classification_heads:
            raise ValueError(f"--classification-head-name {name}: the model has that head already")
        head = ClassificationHead(self.body.output_size, num_classes, self._head_dropout)
        self.classification_heads[name] = head

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        features_only: bool = True,
        classification_head_name: str | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Classify texts; the signature is what fairseq's criterion calls.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.
            features_only: fairseq's flag for models that also predict words; makes no difference here.
            classification_head_name: the head to use; None: none.

        Returns:
            Logits, B x C, or what would be classified, B x D; and an empty dictionary, where fairseq's models return
            inner states.

        Raises:
            ValueError: if the model has no such head.
        """
        features = self.body(src_tokens, src_lengths)
        if classification_head_name is None:
            return features, {}
        if classification_head_name not in self.classification_heads:
            names = ", ".join(self.classification_heads)
            raise ValueError(f"--classification-head-name must be one of {names}, but is {classification_head_name}")
        return self.classification_heads[classification_head_name](features), {}

    def get_targets(self, sample: Mapping[str, Any], net_output: Any) -> Tensor:
        """Return the labels of a batch.

        Args:
            sample: the batch.
            net_output: not needed.

        Returns:
            B classes, or B x C numbers.

        Raises:
            ValueError: if the data have no labels.
        """
        if "target" not in sample:
            raise ValueError("this part of the data has no labels, which training and validation need")
        labels: Tensor = sample["target"]
        return labels

    def max_positions(self) -> int:
        """Return the longest text in tokens."""
        return self.body.longest()


@register_model_architecture("bnb_classifier", "bnb_classifier_small")
def bnb_classifier_small(cfg: Any) -> None:
    """Set MiniLM's sizes: 6 layers of width 384."""
    architecture(cfg, SMALL)


@register_model_architecture("bnb_classifier", "bnb_classifier_tiny")
def bnb_classifier_tiny(cfg: Any) -> None:
    """Set the sizes of BERT-tiny: 2 layers of width 128."""
    architecture(cfg, TINY)
