"""Checkpoints that would run a command if fairseq saw what they say: each is a good one with a few values replaced.

The command makes a file, so that a test sees whether it ran.
"""

import os
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def code(marker: Path, value: str = "None") -> str:
    """An expression that makes a file and has a value."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch() or {value}"


def _model(**options: object) -> Callable[[State, Path], None]:
    """Replace the model's options; CODE is an expression, in a text or alone."""

    def change(state: State, marker: Path) -> None:
        text = {name: code(marker) if value == "CODE" else value for name, value in options.items()}
        state["cfg"]["model"] = {"dropout": 0.1, "encoder_embed_dim": 8, "decoder_embed_dim": 8, **text}

    return change


def _section(name: str, **options: object) -> Callable[[State, Path], None]:
    def change(state: State, marker: Path) -> None:
        text = {option: code(marker) if value == "CODE" else value for option, value in options.items()}
        state["cfg"][name] = {**(state["cfg"].get(name) or {}), **text}

    return change


def _older_task(state: State, marker: Path) -> None:
    _model(_name="fconv", encoder_layers="CODE")(state, marker)
    state["cfg"]["task"] |= {"task": "translation"}


def _arguments(state: State, marker: Path) -> None:
    options = {**state["cfg"]["task"], **state["cfg"]["model"], "task": "translation_bnb"}
    state["args"] = Namespace(**{**options, "arch": "fconv", "encoder_layers": code(marker)})


def _namespace(state: State, marker: Path) -> None:
    state["cfg"]["model"] = Namespace(_name="fconv", arch="fconv", encoder_layers=code(marker))


def _nested(state: State, marker: Path) -> None:
    state["cfg"]["model"] = {"fconv": {"encoder_layers": code(marker)}}


def _payload(state: State, marker: Path) -> None:
    state["extra_state"]["payload"] = Payload(marker)


def _many_values(state: State, marker: Path) -> None:
    inner: object = 1
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    state["cfg"]["model"]["more"] = inner


def _meter(state: State, marker: Path) -> None:
    state["extra_state"]["metrics"] = {"default": [(1, "x", "OrderedDict", {})]}


KINDS: dict[str, Callable[[State, Path], None]] = {
    "fconv": _model(_name="fconv", encoder_layers="CODE"),
    "fconv by its older entry": _model(arch="fconv", decoder_attention="CODE"),
    "fconv in a namespace": _namespace,
    "fconv as the only entry": _nested,
    "fconv of the older task": _older_task,
    "fconv_wmt_en_de": _model(_name="fconv_wmt_en_de", decoder_layers="CODE"),
    "fconv_self_att": _model(_name="fconv_self_att", pretrained="CODE"),
    "fconv_lm": _model(_name="fconv_lm", decoder_layers="CODE"),
    "lightconv": _model(_name="lightconv", adaptive_softmax_cutoff="CODE"),
    "lightconv_lm": _model(_name="lightconv_lm", character_embeddings=True, character_filters="CODE"),
    "transformer_lm": _model(_name="transformer_lm", character_embeddings=True, character_filters="CODE"),
    "lstm": _model(_name="lstm", decoder_attention="CODE"),
    "wav2vec": _model(_name="wav2vec", conv_feature_layers="CODE"),
    "wav2vec2": _model(_name="wav2vec2", conv_feature_layers="CODE"),
    "hubert": _model(_name="hubert", conv_feature_layers="CODE"),
    "transformer's softmax": _model(_name="transformer", adaptive_softmax_cutoff="CODE"),
    "transformer's attention": _model(_name="transformer", encoder_xformers_att_config="CODE"),
    "task": _section("task", _name="multilingual_translation", left_pad_source="CODE", lang_pairs="en-de"),
    "criterion": _section("criterion", _name="ctc", wer_args="CODE"),
    "optimizer": _section("optimizer", _name="adam", adam_betas="CODE"),
    "balance": _section("distributed_training", pipeline_balance="CODE"),
    "pickle": _payload,
    "arguments": _arguments,
    "meter": _meter,
    "endless values": _many_values,
    "many layers": _section("model", encoder_layers=10**9),
    "wide layers": _section("model", decoder_ffn_embed_dim=10**12),
    "layers that are no number": _section("model", encoder_layers="CODE"),
}


def write_hostile(kind: str, good: Path, path: Path, marker: Path) -> Path:
    """Write a checkpoint.

    Args:
        kind: key of ``KINDS``.
        good: a checkpoint.
        path: the file to write.
        marker: the file that its command would make.

    Returns:
        The path.
    """
    state = torch.load(good)
    KINDS[kind](state, marker)
    torch.save(state, path, pickle_module=pickle)
    return path
