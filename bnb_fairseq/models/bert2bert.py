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

ATTENTION_OPTIONS = ("print_alignment", "replace_unk")  # fairseq's, read attention weights that are never computed


@dataclass
class Bert2BertConfig(BertSeq2SeqConfig):
    """Options of the autoregressive model."""

    cross_attention_init: CROSS_ATTENTION_INIT_CHOICES = field(
        default="self", metadata={"help": "cross-attention starts random, or from the decoder BERT's self-attention"}
    )


class HostedEncoder(BertEncoder, FairseqEncoder):
    """``BertEncoder`` as an encoder of fairseq's, which its models of encoder and decoder insist on.

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

    It writes word by word through fairseq's SequenceGenerator, and trains with any of fairseq's criterions for
    autoregressive models on the same data as ``bnb_transformer``.

    Args:
        encoder: the encoder.
        decoder: the decoder.

    Attributes:
        options: what it was built from.
    """

    options: AutoregressiveOptions

    def __init__(self, encoder: HostedEncoder, decoder: CausalDecoder) -> None:
        super().__init__(encoder, decoder)

    @classmethod
    def build_model(cls, cfg: Bert2BertConfig, task: TaskWithDictionaries) -> "Bert2Bert":
        """Build a model with random weights; sizes left open are bert-base's.

        Args:
            cfg: the options.
            task: has the dictionaries.

        Returns:
            The model.

        Raises:
            ValueError: if the task is another package's, a size or probability is out of range, or what is to be frozen
                does not start from a BERT.
        """
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
        """Build a model with random weights between two dictionaries."""
        encoder = HostedEncoder(source, options.encoder, options.encoder_positions)
        width, tied = options.encoder.embed_dim, not options.untie_output
        decoder = CausalDecoder(target, options.decoder, width, options.decoder_positions, tied)
        model = cls(encoder, decoder)
        model.options = options
        return model


def refuse_attention_options(args: Any) -> None:
    """Check fairseq's generation options.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.

    Raises:
        ValueError: naming each option that is set but would need attention weights.
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
