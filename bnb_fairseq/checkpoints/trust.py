"""Trust in the values of a checkpoint: fairseq evaluates strings of many of its own models.

Only listed classes are ever built from a checkpoint. All its values are plain, so no code has run before these checks.
"""

import ast
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.models.transformer import TransformerModel
from fairseq.tasks import TASK_REGISTRY
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

PACKAGE = __name__.partition(".")[0]
TRANSFORMER = frozenset({TransformerModel})  # itself, none of the models that inherit from it
# Criterions of fairseq that evaluate nothing and open no file.
CRITERIONS = frozenset(
    {"cross_entropy", "label_smoothed_cross_entropy", "label_smoothed_cross_entropy_with_rdrop", "sentence_prediction"}
)
# fairseq's options whose strings it evaluates; its own defaults are literals.
EVALUATED = frozenset(
    {
        *("adam_betas", "adamax_betas", "adafactor_eps", "lamb_betas", "wer_args", "character_filters"),
        *("adaptive_softmax_cutoff", "adaptive_input_cutoff", "xformers_att_config", "encoder_xformers_att_config"),
        *("decoder_xformers_att_config", "pipeline_balance", "pipeline_devices", "pipeline_encoder_balance"),
        *("pipeline_encoder_devices", "pipeline_decoder_balance", "pipeline_decoder_devices", "conv_feature_layers"),
        *("conv_aggregator_layers", "left_pad_source", "left_pad_target"),
    }
)
OPENED = ("encoder_embed_path", "decoder_embed_path")  # files that fairseq's Transformer reads
METERS = frozenset({"AverageMeter", "SumMeter", "TimeMeter", "StopwatchMeter", "ConcatTensorMeter"})
SECTIONS = {"model": "arch", "task": "task", "criterion": "criterion"}  # fairseq's older name for an entry _name
PLAIN = (str, int, float, bool, type(None), bytes, np.generic, np.ndarray, Tensor)
MOST_VALUES = 100_000  # of a configuration; one has about 600
TOO_MANY = "..."


def find_untrusted(state: Mapping[str, Any]) -> list[str]:
    """A line, worded to follow the file's name, about each value that fairseq must not see."""
    if state.get("args") is not None:
        return ["holds args, a configuration of a fairseq before 2021, which is not loaded"]
    cfg = state.get("cfg")
    if cfg is None:
        return []
    if not isinstance(cfg, dict):
        return [f"holds a {type(cfg).__name__} as cfg, which must be a dictionary"]
    values = list(_values(cfg))
    if (TOO_MANY, None) in values:
        return [f"holds a configuration of over {MOST_VALUES:,} values"]
    if foreign := sorted({type(value).__name__ for _, value in values if not isinstance(value, PLAIN)}):
        return [f"holds a configuration with {', '.join(foreign)}, but must hold plain values"]
    faults = [fault for section, older in SECTIONS.items() for fault in _name_faults(section, older, cfg.get(section))]
    return [*faults, *_value_faults(values), *_meter_faults(state.get("extra_state"))]


def check_model_options(cfg: Any) -> None:
    """Refuse options of a checkpoint's model that fairseq must not see, in omegaconf's or argparse's form.

    Raises ValueError, naming the options.
    """
    options = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True) if isinstance(cfg, DictConfig) else cfg
    if not isinstance(options, dict | Namespace):
        return  # a dataclass, which no file has
    if faults := [*_name_faults("model", SECTIONS["model"], options), *_value_faults(list(_values(options)))]:
        raise ValueError(f"a checkpoint's model must be one that can be trusted, but {'; '.join(faults)}")


def options_of(section: Any) -> dict[str, Any]:
    """A section of a configuration as a dictionary; fairseq stores some as a command line's namespace."""
    if isinstance(section, Namespace):
        return vars(section)
    return section if isinstance(section, dict) else {}


def shown(value: object) -> str:
    """A value of a file, cut for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _values(cfg: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a configuration, without containers; a repeated part counts each time."""
    waiting: list[tuple[str, Any]] = [("cfg", cfg)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        name, value = waiting.pop()
        if isinstance(value, Namespace):
            value = vars(value)
        if isinstance(value, dict):
            waiting += [(str(key), each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(name, each) for each in value]
        else:
            yield name, value
    yield TOO_MANY, None


def _name_faults(section: str, older: str, found: Any) -> list[str]:
    """Check the names by which fairseq chooses the class to build from a section."""
    if found is None or found == {}:
        return []
    options = options_of(found)
    if not options:
        return [f"holds a {type(found).__name__} as cfg.{section}, which must be options by name"]
    names = [options.get("_name"), *([options[older]] if isinstance(options.get(older), str) else [])]
    known = _known(section)
    return [
        f"its --{older} must be one of {', '.join(known)}, but is {shown(name)}"
        for name in names
        if not isinstance(name, str) or name not in known
    ]


def _known(section: str) -> Sequence[str]:
    """Names allowed in a section of a checkpoint: this package's, and fairseq's that evaluate nothing."""
    if section == "model":
        classes = {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}
        return sorted(name for name, kind in classes.items() if is_own(kind) or kind in TRANSFORMER)
    if section == "task":
        return sorted(name for name, kind in TASK_REGISTRY.items() if is_own(kind))
    return sorted({*CRITERIONS, *(name for name, kind in CRITERION_REGISTRY.items() if is_own(kind))})


def _value_faults(values: Iterable[tuple[str, Any]]) -> list[str]:
    """Check the strings that fairseq would evaluate, and the files that it would open."""
    evaluated = [
        f"{name} must be a literal, because fairseq evaluates it, but is {shown(value)}"
        for name, value in values
        if name in EVALUATED and isinstance(value, str) and not _is_literal(value)
    ]
    opened = [
        f"{name} must not be set in a checkpoint, because fairseq opens that file, but is {shown(value)}"
        for name, value in values
        if name in OPENED and value
    ]
    return evaluated + opened


def is_own(kind: type) -> bool:
    """Whether a class is of this package, or inherits from one that is."""
    return any(parent.__module__.partition(".")[0] == PACKAGE for parent in kind.__mro__)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _meter_faults(extra: Any) -> list[str]:
    """Check the names of the meters, which fairseq looks up in its module."""
    metrics = extra.get("metrics") if isinstance(extra, dict) else None
    groups = list(metrics.values()) if isinstance(metrics, dict) else []
    meters = [meter for group in groups if isinstance(group, list | tuple) for meter in group]
    names = [meter[2] if isinstance(meter, list | tuple) and len(meter) > 2 else meter for meter in meters]
    wrong = [name for name in names if not isinstance(name, str) or name not in METERS]
    return [f"holds a meter {shown(name)}, which is none of fairseq's" for name in wrong[:1]]
