"""The ``bnb_classifier`` model: an encoder, or a whole ``bnb_transformer``, with a head that classifies or scores."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from torch import Tensor, nn

from ..data.dictionary import BnbDictionary
from ..models.config import BERT_BASE, SMALL, TINY, architecture, complete_sizes
from ..models.task_with_dictionaries import require_own_task
from ..modules.layers import init_bert_weights
from .classifier_bodies import BODIES, DecoderBody, EncoderBody
from .classifier_config import BnbClassifierConfig, check_options


class TaskWithSource(Protocol):
    """The part of a fairseq task that the model reads."""

    @property
    def source_dictionary(self) -> BnbDictionary:
        """The dictionary of the texts."""


class ClassificationHead(nn.Module):
    """logits = U dropout(tanh(W dropout(x) + b)) + c: BERT's pooler and classifier (Devlin et al. 2019, section 4.1).

    Args:
        embed_dim: width D of x.
        num_classes: C, classes or numbers to predict.
        dropout: before each of the two linear layers.
    """

    def __init__(self, embed_dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(embed_dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, num_classes)
        self.apply(init_bert_weights)

    def forward(self, features: Tensor) -> Tensor:
        """Score the classes: B x D -> B x C logits."""
        pooled = self.dropout(torch.tanh(self.dense(self.dropout(features))))
        logits: Tensor = self.out_proj(pooled)
        return logits


@register_model("bnb_classifier", dataclass=BnbClassifierConfig)
class BnbClassifier(BaseFairseqModel):
    """Classifies or scores a text or a pair of texts; works with fairseq's ``sentence_prediction`` criterion."""

    def __init__(self, body: EncoderBody | DecoderBody, head_dropout: float) -> None:
        super().__init__()
        self.body = body
        self.classification_heads = nn.ModuleDict()
        self._head_dropout = head_dropout

    @classmethod
    def build_model(cls, cfg: BnbClassifierConfig, task: TaskWithSource) -> "BnbClassifier":
        """A model with random weights and no head; sizes left open are bert-base's.

        Raises ValueError if the task is another package's, or options are out of range or do not fit each other.
        """
        require_own_task("bnb_classifier", task, [task.source_dictionary], "sentence_prediction_bnb")
        for side in ("encoder", "decoder"):
            complete_sizes(cfg, side, BERT_BASE)
        check_options(cfg)
        return cls(BODIES[str(cfg.classify_with)](cfg, task.source_dictionary), cfg.pooler_dropout)

    def register_classification_head(self, name: str, num_classes: int) -> None:
        """See fairseq; adds a head for ``num_classes`` classes or numbers, and refuses a name in use."""
        if name in self.classification_heads:
            raise ValueError(f"--classification-head-name must be new, but the model already has {name}")
        head = ClassificationHead(self.body.output_size, num_classes, self._head_dropout)
        self.classification_heads[name] = head

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        features_only: bool = True,
        classification_head_name: str | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Classify texts; the signature is that of fairseq's classifiers.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.
            features_only: has no effect.
            classification_head_name: the head to use; None: none.

        Returns:
            Logits, B x C, or without a head the features, B x D; and an empty dictionary in place of inner states.
        """
        features = self.body(src_tokens, src_lengths)
        if classification_head_name is None:
            return features, {}
        if classification_head_name not in self.classification_heads:
            names = ", ".join(self.classification_heads)
            raise ValueError(f"--classification-head-name must be one of {names}, but is {classification_head_name}")
        return self.classification_heads[classification_head_name](features), {}

    def get_targets(self, sample: Mapping[str, Any], net_output: Any) -> Tensor:
        """See fairseq; B classes, or B x C numbers; refuses a batch without labels."""
        if "target" not in sample:
            raise ValueError("training and validation need labels, but this part of the data has none")
        labels: Tensor = sample["target"]
        return labels

    def max_positions(self) -> int:
        """See fairseq; the longest text in tokens."""
        return self.body.longest()


@register_model_architecture("bnb_classifier", "bnb_classifier_small")
def bnb_classifier_small(cfg: Any) -> None:
    """MiniLM's sizes: 6 layers of width 384."""
    architecture(cfg, SMALL)


@register_model_architecture("bnb_classifier", "bnb_classifier_tiny")
def bnb_classifier_tiny(cfg: Any) -> None:
    """BERT-tiny's sizes: 2 layers of width 128."""
    architecture(cfg, TINY)
