"""The ``bnb_transformer`` model and its named architectures."""

from functools import partial
from typing import Any

from fairseq.models import register_model, register_model_architecture

from ..data.dictionary import BnbDictionary
from ..network.nar_network import NarNetwork
from .config import (
    BERT_BASE,
    SMALL,
    TINY,
    BnbTransformerConfig,
    architecture,
    check_options,
    complete_sizes,
    network_options,
)
from .fairseq_layers import decoder_layers, encoder_layers
from .freezing import freeze
from .from_pretrained import FromPretrained
from .task_with_dictionaries import TaskWithDictionaries, require_own_task


@register_model("bnb_transformer", dataclass=BnbTransformerConfig)
class BnbTransformer(NarNetwork, FromPretrained):
    """``NarNetwork`` as a model of fairseq.

    Args:
        cfg: options with every size set.
        source_dictionary: the source dictionary.
        target_dictionary: the target dictionary.

    Raises:
        ValueError: if options contradict each other.
    """

    # untyped members of fairseq's models
    prepare_for_inference_: Any
    upgrade_state_dict: Any

    def __init__(
        self, cfg: BnbTransformerConfig, source_dictionary: BnbDictionary, target_dictionary: BnbDictionary
    ) -> None:
        check_options(cfg)
        options = network_options(cfg)
        super().__init__(
            options,
            source_dictionary,
            target_dictionary,
            encoder_layers,
            partial(decoder_layers, encoder_dim=options.encoder.embed_dim),
        )
        self.num_updates = 0
        freeze(self, cfg.freeze)

    @classmethod
    def build_model(cls, cfg: BnbTransformerConfig, task: TaskWithDictionaries) -> "BnbTransformer":
        """Random weights; sizes left open are bert-base's. A ValueError lists options that do not fit."""
        require_own_task("bnb_transformer", task, (task.source_dictionary, task.target_dictionary))
        for side in ("encoder", "decoder"):
            complete_sizes(cfg, side, BERT_BASE)
        return cls(cfg, task.source_dictionary, task.target_dictionary)

    def set_num_updates(self, num_updates: int) -> None:
        """Store the number of updates made, which schedules read; fairseq calls this before each."""
        self.num_updates = num_updates
        super().set_num_updates(num_updates)


@register_model_architecture("bnb_transformer", "bnb_transformer_small")
def bnb_transformer_small(cfg: Any) -> None:
    """Set MiniLM's sizes: 6 layers of width 384."""
    architecture(cfg, SMALL)


@register_model_architecture("bnb_transformer", "bnb_transformer_tiny")
def bnb_transformer_tiny(cfg: Any) -> None:
    """Set the sizes of BERT-tiny: 2 layers of width 128."""
    architecture(cfg, TINY)
