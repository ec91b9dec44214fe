"""Marks on parameters: what starts from a BERT, and how many layers stand above it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bnb_fairseq.start.bert_groups import NEW, BertGroup, group_parameters

from ..started_model import start

WriteBert = Callable[..., Path]


def places(model: nn.Module) -> dict[str, BertGroup]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = group_parameters(model.parameters())
    return {names[id(parameter)]: group for group, members in groups.items() for parameter in members}


@pytest.mark.parametrize("kind", ["bnb_transformer", "bert2bert"])
def test_every_parameter_stands_where_its_name_says(kind: str, tmp_path: Path, write_bert: WriteBert) -> None:
    model = start(write_bert(tmp_path), kind, decoder_layers=3)
    found = places(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert found["encoder.embeddings.tokens.weight"] == ("encoder.embeddings", 4)
    assert found["encoder.layers.0.fc1.bias"] == ("encoder.layers.0", 3)
    assert found["encoder.layers.3.self_attn.k_proj.weight"] == ("encoder.layers.3", 0)
    assert found["decoder.embeddings.layer_norm.bias"] == ("decoder.embeddings", 3)
    assert found["decoder.layers.1.final_layer_norm.weight"] == ("decoder.layers.1", 1)
    assert found["decoder.head.bias"] == found["decoder.head.transform.weight"] == ("decoder.head", 0)
    new = {name for name, group in found.items() if group == NEW}
    others = ("latent.projection.", "decoder.latent_projection.") if kind == "bnb_transformer" else ()
    assert new == {name for name in found if ".encoder_attn" in name or name.startswith(others)}


def test_copies_start_from_the_bert_too(tmp_path: Path, write_bert: WriteBert) -> None:
    found = places(start(write_bert(tmp_path), "bert2bert", cross_attention_init="self", untie_output=True))
    assert NEW not in found.values()
    assert found["decoder.layers.2.encoder_attn_layer_norm.bias"] == ("decoder.layers.2", 1)
    assert found["decoder.head.weight"] == ("decoder.head", 0)


def test_a_head_that_the_bert_lacks_is_new(tmp_path: Path, write_bert: WriteBert) -> None:
    found = places(start(write_bert(tmp_path, kind="BertModel"), untie_output=True))
    assert found["decoder.head.transform.weight"] == found["decoder.head.bias"] == NEW
    assert found["decoder.head.weight"] == ("decoder.head", 0)


def test_new_parameters_come_first_and_groups_are_never_empty() -> None:
    marked, other, new = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    for parameter, name, above in ((marked, "encoder.head", 0), (other, "encoder.embeddings", 2)):
        parameter.param_group, parameter.optim_overrides = name, {"layers_above": above}  # type: ignore[attr-defined]
    groups = group_parameters([other, marked, new])
    assert list(groups.items()) == [(NEW, [new]), (("encoder.embeddings", 2), [other]), (("encoder.head", 0), [marked])]
    assert list(group_parameters([marked])) == [("encoder.head", 0)]
    new.optim_overrides = {"optimizer": {"lr_scale": 3}}  # type: ignore[attr-defined]  # another model's
    assert list(group_parameters([new])) == [NEW]
