"""The table of names against the models that have them: transformers' and ours."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import transformers

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.fairseq_layers import decoder_layers, encoder_layers
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_encoder import BertEncoder
from bnb_fairseq.network.nar_decoder import NarDecoder
from bnb_fairseq.start.bert_names import bert_name, our_name

SIZES = LayerSizes(
    layers=12, embed_dim=8, ffn_embed_dim=12, attention_heads=2, dropout=0, attention_dropout=0, layer_norm_eps=1e-12
)
CONFIG = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_hidden_layers": 12}
PAIRS = [
    ("embeddings.word_embeddings.weight", "embeddings.tokens.weight"),
    ("embeddings.position_embeddings.weight", "embeddings.positions.weight"),
    ("embeddings.token_type_embeddings.weight", "embeddings.types.weight"),
    ("embeddings.LayerNorm.weight", "embeddings.layer_norm.weight"),
    ("encoder.layer.0.attention.self.query.weight", "layers.0.self_attn.q_proj.weight"),
    ("encoder.layer.1.attention.self.key.bias", "layers.1.self_attn.k_proj.bias"),
    ("encoder.layer.11.attention.self.value.bias", "layers.11.self_attn.v_proj.bias"),
    ("encoder.layer.2.attention.output.dense.weight", "layers.2.self_attn.out_proj.weight"),
    ("encoder.layer.2.attention.output.LayerNorm.bias", "layers.2.self_attn_layer_norm.bias"),
    ("encoder.layer.3.intermediate.dense.weight", "layers.3.fc1.weight"),
    ("encoder.layer.3.output.dense.weight", "layers.3.fc2.weight"),
    ("encoder.layer.3.output.LayerNorm.weight", "layers.3.final_layer_norm.weight"),
    ("encoder.layer.4.crossattention.self.query.bias", "layers.4.encoder_attn.q_proj.bias"),
    ("encoder.layer.4.crossattention.self.key.weight", "layers.4.encoder_attn.k_proj.weight"),
    ("encoder.layer.4.crossattention.self.value.weight", "layers.4.encoder_attn.v_proj.weight"),
    ("encoder.layer.4.crossattention.output.dense.bias", "layers.4.encoder_attn.out_proj.bias"),
    ("encoder.layer.4.crossattention.output.LayerNorm.weight", "layers.4.encoder_attn_layer_norm.weight"),
    ("cls.predictions.transform.dense.weight", "head.transform.weight"),
    ("cls.predictions.transform.LayerNorm.bias", "head.layer_norm.bias"),
    ("cls.predictions.bias", "head.bias"),
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_pairs(theirs: str, ours: str) -> None:
    assert our_name(theirs) == ours
    assert bert_name(ours) == theirs


@pytest.mark.parametrize(
    "name",
    [
        "pooler.dense.weight",
        "bert.embeddings.word_embeddings.weight",
        "embeddings.word_embeddings.bias",
        "embeddings.position_ids",
        "cls.predictions.decoder.weight",
        "cls.predictions.weight",
        "encoder.layer.0.attention.dense.weight",
        "encoder.layer.x.output.dense.weight",
        "encoder.layer.0.output.dense.weight.more",
        "layers.0.fc1.weight",
        "",
    ],
)
def test_what_has_no_counterpart_here(name: str) -> None:
    assert our_name(name) is None


@pytest.mark.parametrize(
    "name", ["latent_projection.weight", "layers.0.fc3.weight", "layers.x.fc1.weight", "embeddings.tokens.bias", ""]
)
def test_what_bert_does_not_have(name: str) -> None:
    assert bert_name(name) is None


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_models_of_both_libraries_have_the_same_parameters(
    side: str, make_dictionary: Callable[[int], BnbDictionary]
) -> None:
    """Each of ours is named, with transformers' shape, and nothing of transformers' is left over."""
    dictionary = make_dictionary(4)  # and <s>, <pad>, </s>, <unk>, <mask>
    ours: Any
    if side == "encoder":
        ours = BertEncoder(dictionary, SIZES, 16, encoder_layers)
        theirs = transformers.BertModel(transformers.BertConfig(**CONFIG, max_position_embeddings=16))
    else:
        ours = NarDecoder(dictionary, SIZES, 3, 16, partial(decoder_layers, encoder_dim=8))
        config = transformers.BertConfig(
            **CONFIG, max_position_embeddings=16, is_decoder=True, add_cross_attention=True
        )
        theirs = transformers.BertLMHeadModel(config)
    shapes = {name.removeprefix("bert."): tensor.shape for name, tensor in theirs.named_parameters()}
    named = {bert_name(name): tensor.shape for name, tensor in ours.named_parameters() if "latent" not in name}
    left_over = {name for name in shapes if name.startswith("pooler.")}
    assert named == {name: shape for name, shape in shapes.items() if name not in left_over}
    assert {our_name(str(name)) for name in named} == {n for n, _ in ours.named_parameters() if "latent" not in n}
