"""Options of the classifier."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum

from ..models.config import BnbTransformerConfig, autoregressive_options
from ..models.freezing import split_parts
from ..network.options import require_sizes
from ..problems import Problems

CLASSIFY_WITH_CHOICES = ChoiceEnum(["encoder", "decoder"])
FREEZABLE = {  # --classify-with -> what --freeze may name
    "encoder": ("encoder-embeddings", "encoder"),
    "decoder": ("encoder-embeddings", "decoder-embeddings", "encoder"),
}


@dataclass
class BnbClassifierConfig(BnbTransformerConfig):
    """Options of the classifier; decoder, latent and canvas options need ``--classify-with decoder``."""

    classify_with: CLASSIFY_WITH_CHOICES = field(  # type: ignore[valid-type]
        default="encoder",
        metadata={
            "help": "input of the classification head: the encoder's state of [CLS], or the mean of a "
            "bnb_transformer's decoder states after one pass"
        },
    )
    pooler_dropout: float = field(default=0.1, metadata={"help": "dropout probability in the classification head"})


def check_options(cfg: BnbClassifierConfig) -> None:
    """Refuse options that do not fit each other, all at once; ``bnb_transformer`` checks its own.

    Raises ValueError, listing each option with its limit and value.
    """
    problems = Problems("bnb_classifier")
    mode = str(cfg.classify_with)
    require_sizes(autoregressive_options(cfg), problems)
    problems.require(0 <= cfg.pooler_dropout < 1, "pooler-dropout", "must lie in [0, 1)", cfg.pooler_dropout)
    if mode == "encoder":
        constraint = "needs --classify-with decoder"
        problems.require(cfg.bert_decoder is None, "bert-decoder", constraint, cfg.bert_decoder)
    if cfg.freeze is not None:
        parts = FREEZABLE[mode]
        constraint = f"must name some of {', '.join(parts)} with --classify-with {mode}"
        problems.require(set(split_parts(cfg.freeze)) <= set(parts), "freeze", constraint, repr(cfg.freeze))
        started = cfg.bert_encoder is not None or cfg.pretrained_checkpoint is not None
        constraint = "needs --bert-encoder or --pretrained-checkpoint, because random parameters must be trained"
        problems.require(started, "freeze", constraint, cfg.freeze)
    problems.raise_if_any()
