"""Options of a training that are set but have no effect beside the others.

Each table row names options and their requirement. An option counts as set if it differs from its default.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fairseq.dataclass import FairseqDataclass

from ..criterions.config import BnbLossConfig
from ..models.bert2bert import Bert2BertConfig
from ..models.config import AUTO, BnbTransformerConfig
from .config import BnbTaskConfig
from .pretraining_config import PretrainingBnbConfig

Condition = Callable[[Any], bool]
Unused = dict[str, list[str]]  # an option with its value -> what it needs


class Effect(NamedTuple):
    """Options that have an effect only under a condition.

    Attributes:
        options: their fields.
        needs: the condition, for the message.
        holds: whether it holds, given the options that it depends on.
    """

    options: tuple[str, ...]
    needs: str
    holds: Condition


def has_value(field: str, value: str) -> Condition:
    """Condition that an option has a value."""
    return lambda cfg: str(getattr(cfg, field)) == value


BEAM_SEARCH = ("ctc_beam_symbols", "ctc_lm_path", "ctc_lm_weight", "ctc_token_bonus")
CTC, LENGTH = has_value("length_control", "ctc"), has_value("length_control", "length")
VAE = has_value("latent", "vae")
OF_CYCLES = ("kl_cycles", "kl_zero_share", "kl_increase_share", "kl_total_updates")
# fields of all models that start from BERTs
STARTS = (
    Effect(
        ("layer_norm_eps",),
        "a random start, without --bert-encoder and --pretrained-checkpoint",
        lambda cfg: cfg.bert_encoder is None and cfg.pretrained_checkpoint is None,
    ),
)
NETWORK = (
    *STARTS,
    Effect(("cross_attention_init",), "--bert-encoder", lambda cfg: cfg.bert_encoder is not None),
    Effect(("ctc_upsample", "ctc_extra", "ctc_canvas", "ctc_blank"), "--length-control ctc", CTC),
    Effect(
        ("ctc_canvas",),
        "--ctc-upsample above 1 or --ctc-extra, which add positions",
        lambda cfg: cfg.ctc_upsample == AUTO or cfg.ctc_upsample > 1 or cfg.ctc_extra > 0 or not CTC(cfg),
    ),
    Effect(("length_range",), "--length-control length", LENGTH),
)
BASELINE = (
    *STARTS,
    Effect(
        ("cross_attention_init",),
        "no --pretrained-checkpoint, which sets its own",
        lambda cfg: cfg.pretrained_checkpoint is None,
    ),
)
MODELS: dict[str, tuple[type[FairseqDataclass], Sequence[Effect]]] = {
    "bnb_transformer": (BnbTransformerConfig, NETWORK),
    "bert2bert": (Bert2BertConfig, BASELINE),
}
# given the options of criterion and model
LOSS_OF_MODEL = (
    Effect(("length_loss_factor",), "--length-control length", LENGTH),
    Effect(("kl_factor", "kl_schedule", *OF_CYCLES), "--latent vae", VAE),
)
LOSS = (
    Effect(("axe_skip_target",), "--token-loss axe", has_value("token_loss", "axe")),
    Effect(("oaxe_margin", "oaxe_warmup_updates"), "--token-loss oaxe", has_value("token_loss", "oaxe")),
    Effect(OF_CYCLES, "--kl-schedule cyclic", has_value("kl_schedule", "cyclic")),
)
TASK = (
    Effect(
        ("eval_bleu_args", "eval_bleu_print_samples"),
        "--eval-bleu, --eval-rouge or --eval-meteor",
        lambda cfg: bool(cfg.eval_bleu or cfg.eval_rouge or cfg.eval_meteor),
    ),
    Effect(BEAM_SEARCH, "--ctc-beam above 0", lambda cfg: cfg.ctc_beam != 0),
)
PRETRAINING = (
    Effect(("mask_prob", "leave_unmasked_prob", "random_token_prob"), "--strategy mlm", has_value("strategy", "mlm")),
    Effect(("permute_prob",), "--strategy plm", has_value("strategy", "plm")),
    Effect(("continuation_min", "continuation_max"), "--strategy clm", has_value("strategy", "clm")),
)


def without_effect(cfg: Any, defaults: type[FairseqDataclass], effects: Sequence[Effect], about: Any = None) -> Unused:
    """Options of ``cfg`` that are set without effect, with their requirements.

    The conditions of ``effects`` depend on the options ``about``; None: on ``cfg`` itself.
    """
    found: Unused = {}
    for effect in effects:
        if effect.holds(cfg if about is None else about):
            continue
        for name in effect.options:
            default = defaults.__dataclass_fields__[name].default
            value = getattr(cfg, name, default)
            if str(value) != str(default):
                found.setdefault(f"--{name.replace('_', '-')} {value}", []).append(effect.needs)
    return found


def merged(*found: Mapping[str, Sequence[str]]) -> Unused:
    """Join findings, each option once."""
    options = dict.fromkeys(option for part in found for option in part)
    return {option: [need for part in found for need in part.get(option, ())] for option in options}


def described(found: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each option that has no effect."""
    return [f"{option} has no effect: it needs {' and '.join(needs)}" for option, needs in found.items()]


def unused_of_model(cfg: Any) -> Unused:
    """A model's options without effect, before sizes are filled in; none for a model of fairseq's own."""
    kind = next((kind for name, kind in MODELS.items() if str(getattr(cfg, "_name", "")).startswith(name)), None)
    return {} if kind is None else without_effect(cfg, *kind)


def unused_of_loss(cfg: Any, model: Any) -> Unused:
    """Options of ``bnb_loss`` without effect, given those of the ``bnb_transformer``."""
    return merged(without_effect(cfg, BnbLossConfig, LOSS_OF_MODEL, model), without_effect(cfg, BnbLossConfig, LOSS))


def unused_of_task(cfg: Any, model: Any) -> Unused:
    """Options of a text-to-text task without effect; ``model`` is None for any but a ``bnb_transformer``."""
    search = Effect(
        ("ctc_beam", "ctc_blank_penalty"),
        "--arch bnb_transformer with --length-control ctc",
        lambda _: model is not None and CTC(model),
    )
    found = without_effect(cfg, BnbTaskConfig, [*TASK, search])
    return merged(found, without_effect(cfg, PretrainingBnbConfig, PRETRAINING if hasattr(cfg, "strategy") else ()))
