"""The ``config.json`` of a seed checkpoint (the published BERT-NAR-BERT code's own format), read and written."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..models.config import BnbTransformerConfig
from ..problems import Problems
from ..start.bert_checkpoint import CONFIG_KEYS, REQUIRED

CONFIG = "config.json"
SIDES = ("encoder", "decoder")
MODEL_TYPE = "encoder-decoder"
BLANK = 0  # of the original's CTC, a fixed number there
IDS = ("pad_token_id", "decoder_start_token_id", "eos_token_id")
PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob")
DEFAULTS = {  # of entries that a BERT's configuration may omit
    **{key: value for key, value in REQUIRED.items() if key != "model_type"},
    **dict.fromkeys(PROBABILITIES, 0.1),
    "layer_norm_eps": 1e-12,
    "pad_token_id": BLANK,
}
# Between encoder and decoder: one option here, or one width that cross-attention and latent share.
MUST_AGREE = ("layer_norm_eps", *PROBABILITIES, "hidden_size", "latent_size")

SeedConfig = dict[str, Any]
Check = tuple[Callable[[Any], bool], str]  # whether a value fits, and what it must be


def _is_whole(least: int) -> Check:
    return lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= least, f"an integer of at least {least}"


def _is(wanted: object, reason: str = "") -> Check:
    return lambda x: bool(x == wanted), f"{wanted!r}{reason}"


PROBABILITY: Check = (lambda x: isinstance(x, int | float) and 0 <= x < 1, "a number in [0, 1)")
CHECKS: dict[str, Check] = {
    "model_type": _is(MODEL_TYPE),
    "is_vae": (lambda x: isinstance(x, bool), "true or false"),
    "dropout_prob": PROBABILITY,
    "pad_token_id": _is(BLANK, ", the original's CTC blank"),
    **dict.fromkeys(IDS[1:], _is_whole(0)),
}
SIDE_CHECKS: dict[str, Check] = {
    **{key: _is(value) for key, value in REQUIRED.items()},
    **dict.fromkeys((*CONFIG_KEYS.values(), "vocab_size", "latent_size"), _is_whole(1)),
    **dict.fromkeys(PROBABILITIES, PROBABILITY),
    "layer_norm_eps": (lambda x: isinstance(x, int | float) and x > 0, "a number above 0"),
    "pad_token_id": _is(BLANK, ", the original's CTC blank"),
}


class SpecialIds(NamedTuple):
    """Ids of [PAD], [CLS] and [SEP], in the order of ``IDS``."""

    pad: int
    bos: int
    eos: int


def read_seed_config(directory: Path) -> SeedConfig:
    """Read and check a seed checkpoint's ``config.json``.

    Raises ValueError if there is no such file, or listing every unusable entry.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise ValueError(f"{directory}: not a seed checkpoint, because it has no {CONFIG}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    problems = _problems(config) if isinstance(config, dict) else ["it holds no JSON object"]
    if problems:
        raise ValueError(f"{path}: not a usable seed checkpoint: {'; '.join(problems)}")
    checked: SeedConfig = config
    return checked


def _problems(config: SeedConfig) -> list[str]:
    problems = _misfits(config, CHECKS)
    sides = {name: {**DEFAULTS, **config[name]} for name in SIDES if isinstance(config.get(name), dict)}
    for name in SIDES:
        if name in sides:
            problems += [f"{name}.{problem}" for problem in _misfits(sides[name], SIDE_CHECKS)]
        else:
            problems.append(f"{name} is missing" if name not in config else f"{name} must be a BERT's configuration")
    if len(sides) == len(SIDES):
        for key in MUST_AGREE:
            values = [side.get(key) for side in sides.values()]
            if all(map(SIDE_CHECKS[key][0], values)) and values[0] != values[1]:
                problems.append(f"{key} of encoder ({values[0]}) and decoder ({values[1]}) differ")
    return problems


def _misfits(config: SeedConfig, checks: Mapping[str, Check]) -> list[str]:
    problems = []
    for key, (fits, constraint) in checks.items():
        if key not in config:
            problems.append(f"{key} is missing")
        elif not fits(config[key]):
            problems.append(f"{key} must be {constraint}, but is {config[key]!r}")
    return problems


def special_ids(config: Mapping[str, Any]) -> SpecialIds:
    """Ids of [PAD], [CLS] and [SEP] in the target vocabulary."""
    return SpecialIds(*(int(config[key]) for key in IDS))


def model_options(config: Mapping[str, Any], canvas_length: int) -> dict[str, Any]:
    """Translate a seed checkpoint's configuration.

    Args:
        config: from ``read_seed_config``.
        canvas_length: positions that sources are padded to; the original takes it from its training script.

    Returns:
        Options of ``bnb_transformer`` by field name.
    """
    encoder = {**DEFAULTS, **config["encoder"]}
    sizes = {f"{side}_{ours}": config[side][theirs] for side in SIDES for ours, theirs in CONFIG_KEYS.items()}
    return {
        **sizes,
        "layer_norm_eps": float(encoder["layer_norm_eps"]),
        "dropout": float(encoder["hidden_dropout_prob"]),
        "attention_dropout": float(encoder["attention_probs_dropout_prob"]),
        "length_control": "ctc",
        "ctc_blank": "pad",
        "ctc_canvas_length": canvas_length,
        "latent": "vae" if config["is_vae"] else "deterministic",
        "latent_size": encoder["latent_size"],
        "latent_dropout": float(config["dropout_prob"]),
    }


def check_expressible(cfg: BnbTransformerConfig, pads: Sequence[int] = ()) -> None:
    """Refuse a model that the original cannot express.

    Args:
        cfg: the model's options, every size set.
        pads: ids of [PAD] in the source and in the target dictionary, if known.

    Raises:
        ValueError: listing each such option with its limit and value.
    """
    problems = Problems("a seed checkpoint cannot hold this model")
    control, blank = str(cfg.length_control), str(cfg.ctc_blank)
    problems.require(control == "ctc", "length-control", "must be ctc", control)
    problems.require(blank == "pad", "ctc-blank", "must be pad", blank)
    problems.require(cfg.ctc_canvas_length > 0, "ctc-canvas-length", "must be at least 1", cfg.ctc_canvas_length)
    problems.require(not cfg.canvas_tokens, "canvas-tokens", "must be off", "on")
    problems.require(not cfg.untie_output, "untie-output", "must be off", "on")
    problems.require(cfg.latent_size > 0, "latent-size", "must be at least 1", cfg.latent_size)
    widths = cfg.encoder_embed_dim, cfg.decoder_embed_dim
    problems.require(widths[0] == widths[1], "decoder-embed-dim", f"must be the encoder's {widths[0]}", widths[1])
    for option, pad in zip(("srcdict", "tgtdict"), pads, strict=False):
        problems.require(pad == BLANK, option, f"must have [PAD] at id {BLANK}, the original's blank", f"at {pad}")
    problems.raise_if_any()


def make_seed_config(cfg: BnbTransformerConfig, ids: SpecialIds, symbols: tuple[int, int]) -> SeedConfig:
    """Make the configuration of a model that passes ``check_expressible``; ``model_options`` inverts it.

    Args:
        cfg: the model's options, every size set.
        ids: special ids of the target vocabulary.
        symbols: sizes of source and target vocabulary.

    Returns:
        The content of ``config.json``.
    """
    config: SeedConfig = {
        "architectures": ["EncoderDecoderModel"],
        "dropout_prob": cfg.latent_dropout,
        "is_encoder_decoder": True,
        "is_vae": str(cfg.latent) == "vae",
        "model_type": MODEL_TYPE,
        "torch_dtype": "float32",
        "transformers_version": None,
        "vocab_size": symbols[1],
        **dict(zip(IDS, ids, strict=True)),
    }
    for side, size in zip(SIDES, symbols, strict=True):
        is_decoder = side == "decoder"
        config[side] = {
            **REQUIRED,
            **{theirs: getattr(cfg, f"{side}_{ours}") for ours, theirs in CONFIG_KEYS.items()},
            "add_cross_attention": is_decoder,
            "attention_probs_dropout_prob": cfg.attention_dropout,
            "hidden_dropout_prob": cfg.dropout,
            "initializer_range": 0.02,
            "is_decoder": is_decoder,
            "latent_size": cfg.latent_size,
            "layer_norm_eps": cfg.layer_norm_eps,
            "pad_token_id": BLANK,
            "tie_word_embeddings": True,
            "type_vocab_size": 2,
            "use_cache": True,
            "vocab_size": size,
        }
    return config


def seed_config_text(config: Mapping[str, Any]) -> str:
    """``config.json`` in transformers' layout."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
