"""The ``bert2bert`` model, the autoregressive baseline, and its named architectures."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, register_model, register_model_architecture

from ..data.dictionary import BnbDictionary
from ..modules.layers import LayerSizes
from ..network.bert_encoder import BertEncoder
from ..network.options import AutoregressiveOptions, require_sizes
from ..problems import Problems
from .causal_decoder import CausalDecoder
from .config import (
    BERT_BASE,
    CROSS_ATTENTION_INIT_CHOICES,
    CROSS_ATTENTION_INIT_HELP,
    SMALL,
    TINY,
    BertSeq2SeqConfig,
    architecture,
    autoregressive_options,
    complete_sizes,
    require_freezable,
)
from .fairseq_layers import encoder_layers
from .freezing import freeze
from .from_pretrained import FromPretrained
from .task_with_dictionaries import TaskWithDictionaries, require_own_task

ATTENTION_OPTIONS = ("print_alignment", "replace_unk")  # need attention weights, which are never computed


@dataclass
class Bert2BertConfig(BertSeq2SeqConfig):
    """Options of the autoregressive model."""

    cross_attention_init: CROSS_ATTENTION_INIT_CHOICES = field(default="self", metadata=CROSS_ATTENTION_INIT_HELP)


class HostedEncoder(BertEncoder, FairseqEncoder):
    """``BertEncoder`` as an encoder of fairseq, which fairseq's encoder-decoder models insist on.

    Args:
        dictionary: the source dictionary.
        sizes: sizes of the layers.
        positions: largest source length.
    """

    def __init__(self, dictionary: BnbDictionary, sizes: LayerSizes, positions: int) -> None:
        BertEncoder.__init__(self, dictionary, sizes, positions, encoder_layers)


@register_model("bert2bert", dataclass=Bert2BertConfig)
class Bert2Bert(FromPretrained, FairseqEncoderDecoderModel):
    """BERT as encoder, BERT with a causal mask and cross-attention as decoder (Rothe et al. 2020, section 2).

    It decodes with fairseq's SequenceGenerator, and trains with fairseq's autoregressive criterions on the data of
    ``bnb_transformer``.

    Args:
        encoder: the encoder.
        decoder: the decoder.

    Attributes:
        options: the network's options.
    """

    options: AutoregressiveOptions

    def __init__(self, encoder: HostedEncoder, decoder: CausalDecoder) -> None:
        super().__init__(encoder, decoder)

    @classmethod
    def build_model(cls, cfg: Bert2BertConfig, task: TaskWithDictionaries) -> "Bert2Bert":
        """Random weights; sizes left open are bert-base's. A ValueError lists options that do not fit."""
        require_own_task("bert2bert", task, (task.source_dictionary, task.target_dictionary))
        for side in ("encoder", "decoder"):
            complete_sizes(cfg, side, BERT_BASE)
        options, problems = autoregressive_options(cfg), Problems("bert2bert")
        require_sizes(options, problems)
        require_freezable(cfg, problems)
        problems.raise_if_any()
        model = cls.of_options(options, task.source_dictionary, task.target_dictionary)
        freeze(model, cfg.freeze)
        return model

    @classmethod
    def of_options(cls, options: AutoregressiveOptions, source: BnbDictionary, target: BnbDictionary) -> "Bert2Bert":
        """A model with random weights between two dictionaries."""
        encoder = HostedEncoder(source, options.encoder, options.encoder_positions)
        width, tied = options.encoder.embed_dim, not options.untie_output
        decoder = CausalDecoder(target, options.decoder, width, options.decoder_positions, tied)
        model = cls(encoder, decoder)
        model.options = options
        return model


def refuse_attention_options(args: Any) -> None:
    """Refuse generation options that need attention weights.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.

    Raises:
        ValueError: naming each such option.
    """
    values = {name: getattr(args, name, None) for name in ATTENTION_OPTIONS}
    found = [f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value not in (None, False)]
    if found:
        raise ValueError(f"bert2bert keeps no attention weights and cannot use {', '.join(found)}")


@register_model_architecture("bert2bert", "bert2bert_small")
def bert2bert_small(cfg: Any) -> None:
    """Set MiniLM's sizes: 6 layers of width 384."""
    architecture(cfg, SMALL)


@register_model_architecture("bert2bert", "bert2bert_tiny")
def bert2bert_tiny(cfg: Any) -> None:
    """Set the sizes of BERT-tiny: 2 layers of width 128."""
    architecture(cfg, TINY)
