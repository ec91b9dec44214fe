"""BERT's names and ours in one table, read in both directions.

BERT's names lack the ``bert.`` that some files put before embeddings and layers; ours are those of the parameters of an
encoder or decoder.
"""

import re
from collections.abc import Mapping


def _parameters(modules: Mapping[str, str]) -> dict[str, str]:
    """Names of the weight and the bias of each module."""
    return {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in modules.items() for part in ("weight", "bias")}


EMBEDDING_NAMES = {
    "embeddings.word_embeddings.weight": "embeddings.tokens.weight",
    "embeddings.position_embeddings.weight": "embeddings.positions.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.types.weight",
    **_parameters({"embeddings.LayerNorm": "embeddings.layer_norm"}),
}
LAYER_NAMES = _parameters(  # inside a layer
    {
        "attention.self.query": "self_attn.q_proj",
        "attention.self.key": "self_attn.k_proj",
        "attention.self.value": "self_attn.v_proj",
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "self_attn_layer_norm",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
        "output.LayerNorm": "final_layer_norm",
    }
)
CROSS_ATTENTION_NAMES = _parameters(  # inside a decoder's layer
    {
        "crossattention.self.query": "encoder_attn.q_proj",
        "crossattention.self.key": "encoder_attn.k_proj",
        "crossattention.self.value": "encoder_attn.v_proj",
        "crossattention.output.dense": "encoder_attn.out_proj",
        "crossattention.output.LayerNorm": "encoder_attn_layer_norm",
    }
)
HEAD_NAMES = {
    **_parameters(
        {
            "cls.predictions.transform.dense": "head.transform",
            "cls.predictions.transform.LayerNorm": "head.layer_norm",
        }
    ),
    "cls.predictions.bias": "head.bias",
}
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.*)")  # BERT's
OUR_LAYER = re.compile(r"layers\.(\d+)\.(.*)")

_OURS = {**EMBEDDING_NAMES, **HEAD_NAMES}
_OURS_IN_LAYER = {**LAYER_NAMES, **CROSS_ATTENTION_NAMES}
_BERTS = {ours: theirs for theirs, ours in _OURS.items()}
_BERTS_IN_LAYER = {ours: theirs for theirs, ours in _OURS_IN_LAYER.items()}


def our_name(name: str) -> str | None:
    """Our name: ``layers.3.fc2.bias`` for ``encoder.layer.3.output.dense.bias``; None if there is none."""
    if match := LAYER.fullmatch(name):
        ours = _OURS_IN_LAYER.get(match[2])
        return None if ours is None else f"layers.{match[1]}.{ours}"
    return _OURS.get(name)


def bert_name(name: str) -> str | None:
    """The reverse of ``our_name``; None for parameters that BERT does not have."""
    if match := OUR_LAYER.fullmatch(name):
        theirs = _BERTS_IN_LAYER.get(match[2])
        return None if theirs is None else f"encoder.layer.{match[1]}.{theirs}"
    return _BERTS.get(name)
