"""Options of the models, and the sizes that they resolve to."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from ..modules.layers import LayerSizes
from ..network.options import CHOICES, AutoregressiveOptions, NetworkOptions, require_network
from ..problems import Problems
from .freezing import PARTS, split_parts

LENGTH_CONTROL_CHOICES = ChoiceEnum(list(CHOICES["length_control"]))
CTC_CANVAS_CHOICES = ChoiceEnum(list(CHOICES["ctc_canvas"]))
CTC_BLANK_CHOICES = ChoiceEnum(list(CHOICES["ctc_blank"]))
LATENT_CHOICES = ChoiceEnum(["deterministic", "vae"])
CROSS_ATTENTION_INIT_CHOICES = ChoiceEnum(["random", "self"])
CROSS_ATTENTION_INIT_HELP = {"help": "start of cross-attention: random, or a copy of the decoder BERT's self-attention"}

AUTO = "auto"  # --ctc-upsample
SIZE_FIELDS = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "positions")
Sizes = dict[str, int]
BERT_BASE: Sizes = {"layers": 12, "embed_dim": 768, "ffn_embed_dim": 3072, "attention_heads": 12, "positions": 512}
SMALL: Sizes = {"layers": 6, "embed_dim": 384, "ffn_embed_dim": 1536, "attention_heads": 12, "positions": 512}
TINY: Sizes = {"layers": 2, "embed_dim": 128, "ffn_embed_dim": 512, "attention_heads": 4, "positions": 512}


def _size(side: str, what: str) -> Any:
    return field(
        default=None,
        metadata={"help": f"{side} {what} (default: the BERT's, which cannot change, else the architecture's)"},
    )


@dataclass
class BertSeq2SeqConfig(FairseqDataclass):
    """Options of every model that can start from BERTs; sizes that are None are set before the model is built."""

    bert_encoder: Optional[str] = field(
        default=None,
        metadata={
            "help": "HuggingFace name or directory of the BERT that the encoder starts from (default: random start)"
        },
    )
    bert_decoder: Optional[str] = field(
        default=None, metadata={"help": "BERT that the decoder starts from (default: --bert-encoder)"}
    )
    pretrained_checkpoint: Optional[str] = field(
        default=None,
        metadata={
            "help": "checkpoint of bnb_transformer or bert2bert to start from instead of BERTs; unlike "
            "--finetune-from-model it may have other dictionaries: embeddings are matched by text"
        },
    )
    encoder_layers: Optional[int] = field(
        default=None,
        metadata={
            "help": "number of encoder layers; fewer than the BERT has: evenly spaced ones "
            "(default: all of the BERT's, else the architecture's)"
        },
    )
    encoder_embed_dim: Optional[int] = _size("encoder", "width")
    encoder_ffn_embed_dim: Optional[int] = _size("encoder", "feed-forward width")
    encoder_attention_heads: Optional[int] = _size("encoder", "attention heads")
    encoder_positions: Optional[int] = _size("encoder", "positions, the longest source in tokens")
    decoder_layers: Optional[int] = field(
        default=None,
        metadata={
            "help": "number of decoder layers; fewer than the BERT has: evenly spaced ones "
            "(default: all of the BERT's, else the architecture's)"
        },
    )
    decoder_embed_dim: Optional[int] = _size("decoder", "width")
    decoder_ffn_embed_dim: Optional[int] = _size("decoder", "feed-forward width")
    decoder_attention_heads: Optional[int] = _size("decoder", "attention heads")
    decoder_positions: Optional[int] = _size("decoder", "positions, the longest canvas or output")
    layer_norm_eps: float = field(default=1e-12, metadata={"help": "epsilon of every LayerNorm (a BERT sets its own)"})
    dropout: float = field(default=0.1, metadata={"help": "dropout probability"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout probability of attention weights"})
    cross_attention_init: CROSS_ATTENTION_INIT_CHOICES = field(  # type: ignore[valid-type]
        default="random", metadata=CROSS_ATTENTION_INIT_HELP
    )
    freeze: Optional[str] = field(
        default=None,
        metadata={
            "help": f"parts not to train, separated by commas: {', '.join(PARTS)}; the decoder's embeddings are also "
            "its output layer, unless --untie-output (default: train everything)"
        },
    )
    untie_output: bool = field(
        default=False,
        metadata={"help": "give the output layer its own matrix, which starts as a copy of the token embeddings"},
    )


@dataclass
class BnbTransformerConfig(BertSeq2SeqConfig):
    """Options of the non-autoregressive model."""

    length_control: LENGTH_CONTROL_CHOICES = field(  # type: ignore[valid-type]
        default="ctc", metadata={"help": "control of the output length: CTC, or a length classifier"}
    )
    ctc_upsample: Any = field(
        default=2.0,
        metadata={
            "help": "CTC: canvas positions per source token; use less than 1 if outputs are much shorter than sources; "
            "auto: the smallest canvas on average with room for 99.5%% of the training pairs; it sets --ctc-extra, too"
        },
    )
    ctc_extra: int = field(
        default=0,
        metadata={"help": "CTC: canvas positions beside those of --ctc-upsample, for a source of any length"},
    )
    ctc_canvas: CTC_CANVAS_CHOICES = field(  # type: ignore[valid-type]
        default="mask",
        metadata={"help": "CTC: content of added canvas positions: [MASK] embeddings, or the latent repeated"},
    )
    ctc_canvas_length: int = field(
        default=0,
        metadata={
            "help": "CTC: fixed number of canvas positions, to which sources are padded, as in the original "
            "implementation; excludes --ctc-upsample and --ctc-canvas (0: the canvas follows the source)"
        },
    )
    ctc_blank: CTC_BLANK_CHOICES = field(  # type: ignore[valid-type]
        default="new", metadata={"help": "CTC: the blank: a new symbol after the vocabulary, [PAD], or [MASK]"}
    )
    length_range: int = field(
        default=128,
        metadata={"help": "length classifier: largest difference N of target and source length; classes are -N to N"},
    )
    latent_size: int = field(
        default=0,
        metadata={"help": "width of a token's latent vector (the paper: 8; 0: no latent, the encoder state itself)"},
    )
    latent: LATENT_CHOICES = field(  # type: ignore[valid-type]
        default="deterministic", metadata={"help": "kind of latent: a linear map, or a variational autoencoder"}
    )
    latent_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability of the latent and of the states that cross-attention reads"}
    )
    canvas_tokens: bool = field(
        default=False,
        metadata={"help": "let the decoder read the tokens predicted so far, and train it to refine them"},
    )


def complete_sizes(cfg: BertSeq2SeqConfig, side: str, defaults: Sizes) -> None:
    """Set the open sizes of ``side``, ``encoder`` or ``decoder``, to ``defaults``, keys ``SIZE_FIELDS``; in place."""
    for name in SIZE_FIELDS:
        if getattr(cfg, f"{side}_{name}", None) is None:
            setattr(cfg, f"{side}_{name}", defaults[name])


def layer_sizes(cfg: BertSeq2SeqConfig, side: str) -> LayerSizes:
    """Sizes of the layers of ``encoder`` or ``decoder``; ``cfg`` must have every size set."""
    return LayerSizes(
        layers=getattr(cfg, f"{side}_layers"),
        embed_dim=getattr(cfg, f"{side}_embed_dim"),
        ffn_embed_dim=getattr(cfg, f"{side}_ffn_embed_dim"),
        attention_heads=getattr(cfg, f"{side}_attention_heads"),
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        layer_norm_eps=cfg.layer_norm_eps,
    )


def read_upsample(cfg: Any) -> None:
    """Turn ``--ctc-upsample``, where a model has it, into a number, in place, unless it is ``AUTO``."""
    if getattr(cfg, "ctc_upsample", AUTO) != AUTO:
        cfg.ctc_upsample = positions_per_token(cfg.ctc_upsample)


def positions_per_token(value: Any) -> float:
    """Read ``--ctc-upsample`` as a number; a ValueError if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        known = f"a number, or {AUTO} in a training with pairs"
        raise ValueError(f"--ctc-upsample must be {known}, but is {value!r}") from error


def network_options(cfg: BnbTransformerConfig) -> NetworkOptions:
    """Options of the network; ``cfg`` must have every size set."""
    return NetworkOptions(
        encoder=layer_sizes(cfg, "encoder"),
        decoder=layer_sizes(cfg, "decoder"),
        encoder_positions=int(cfg.encoder_positions or 0),
        decoder_positions=int(cfg.decoder_positions or 0),
        length_control=str(cfg.length_control),
        ctc_upsample=positions_per_token(cfg.ctc_upsample),
        ctc_extra=int(cfg.ctc_extra),
        ctc_canvas=str(cfg.ctc_canvas),
        ctc_canvas_length=int(cfg.ctc_canvas_length),
        ctc_blank=str(cfg.ctc_blank),
        length_range=int(cfg.length_range),
        latent_size=int(cfg.latent_size),
        vae=str(cfg.latent) == "vae",
        latent_dropout=float(cfg.latent_dropout),
        canvas_tokens=bool(cfg.canvas_tokens),
        untie_output=bool(cfg.untie_output),
    )


def autoregressive_options(cfg: BertSeq2SeqConfig) -> AutoregressiveOptions:
    """Options that every network has; ``cfg`` must have every size set."""
    return AutoregressiveOptions(
        encoder=layer_sizes(cfg, "encoder"),
        decoder=layer_sizes(cfg, "decoder"),
        encoder_positions=int(cfg.encoder_positions or 0),
        decoder_positions=int(cfg.decoder_positions or 0),
        untie_output=bool(cfg.untie_output),
    )


def model_options(network: NetworkOptions | AutoregressiveOptions) -> dict[str, Any]:
    """Options of a model with this network, by field names."""
    values = network.to_json()
    encoder = values["encoder"]  # the decoder has the same dropouts and epsilon
    for side in ("encoder", "decoder"):
        sizes = values.pop(side)
        values |= {f"{side}_{name}": sizes[name] for name in SIZE_FIELDS if name != "positions"}
    values |= {name: encoder[name] for name in ("dropout", "attention_dropout", "layer_norm_eps")}
    if "vae" in values:
        values["latent"] = "vae" if values.pop("vae") else "deterministic"
    return values


def architecture(cfg: BertSeq2SeqConfig, sizes: Sizes) -> None:
    """Set an architecture's sizes, unless a BERT or a checkpoint sets its own; in place.

    Args:
        cfg: the options; while fairseq sets up an architecture, some may be missing.
        sizes: the architecture's, keys ``SIZE_FIELDS``.
    """
    if any(getattr(cfg, name, None) is not None for name in ("bert_encoder", "pretrained_checkpoint")):
        return
    for side in ("encoder", "decoder"):
        complete_sizes(cfg, side, sizes)


def require_freezable(cfg: BertSeq2SeqConfig, problems: Problems) -> None:
    """Note parts in ``--freeze`` that are unknown or would stay random."""
    if cfg.freeze is None:
        return
    known = all(part in PARTS for part in split_parts(cfg.freeze))
    problems.require(known, "freeze", f"must name some of {', '.join(PARTS)}", repr(cfg.freeze))
    started = cfg.bert_encoder is not None or cfg.pretrained_checkpoint is not None
    constraint = "needs --bert-encoder or --pretrained-checkpoint, because random parameters must be trained"
    problems.require(started, "freeze", constraint, cfg.freeze)


def check_options(cfg: BnbTransformerConfig) -> None:
    """Refuse options that do not fit each other: a ValueError lists them all. ``cfg`` must have every size set."""
    problems = Problems("bnb_transformer")
    require_network(network_options(cfg), problems)
    require_freezable(cfg, problems)
    _require_trained_blank(cfg, problems)
    problems.raise_if_any()


def _require_trained_blank(cfg: BnbTransformerConfig, problems: Problems) -> None:
    """Note a frozen row of the CTC blank, the most frequent output: no BERT has it."""
    has_row = (str(cfg.length_control), str(cfg.ctc_blank)) == ("ctc", "new")
    part = "head" if cfg.untie_output else "decoder-embeddings"
    frozen = cfg.freeze is not None and part in split_parts(cfg.freeze)
    constraint = "must not name the output layer with --ctc-blank new, whose row starts random"
    problems.require(not (has_row and frozen), "freeze", constraint, cfg.freeze)
