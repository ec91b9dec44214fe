"""--untie-output: a matrix of its own that starts as the token embeddings, and then goes its own way."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ..started_model import KINDS, logits_of, start

WriteBert = Callable[..., Path]
TABLE, OUTPUT = "decoder.embeddings.tokens.weight", "decoder.head.weight"


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_tied_model_does(kind: str, tmp_path: Path, write_bert: WriteBert) -> None:
    bert, models = write_bert(tmp_path), []
    for untied in (False, True):
        torch.manual_seed(1)
        models.append(start(bert, kind, untie_output=untied).eval())
    tied, untied_model = (model.state_dict() for model in models)
    assert untied_model.keys() - tied.keys() == {OUTPUT}
    assert torch.equal(untied_model[OUTPUT], tied[TABLE])
    assert untied_model[OUTPUT].data_ptr() != untied_model[TABLE].data_ptr()
    assert torch.equal(*(logits_of(model) for model in models))


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_a_copy_without_a_bert(kind: str, make_config: Callable[..., Any], small_task: Any) -> None:
    model_class, config_class = KINDS[kind]
    state = model_class.build_model(make_config(config_class, untie_output=True), small_task).state_dict()
    assert torch.equal(state[OUTPUT], state[TABLE])
    assert state[TABLE].std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_words_are_scored_by_the_matrix_alone(kind: str, tmp_path: Path, write_bert: WriteBert) -> None:
    model = start(write_bert(tmp_path), kind, untie_output=True).eval()
    before = logits_of(model)
    model.decoder.embeddings.tokens.weight[15] += 1  # a word that the decoder does not read
    assert torch.equal(logits_of(model), before)
    model.get_parameter(OUTPUT)[15] *= 2
    changed = (logits_of(model) - before).abs().amax(dim=tuple(range(before.dim() - 1)))
    assert changed.nonzero().flatten().tolist() == [15]


@pytest.mark.parametrize("kind", KINDS)
def test_each_matrix_has_its_own_gradient(kind: str, tmp_path: Path, write_bert: WriteBert) -> None:
    model = start(write_bert(tmp_path), kind, untie_output=True)
    torch.autograd.backward(logits_of(model).square().sum())
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    table, output = gradients[TABLE], gradients[OUTPUT]
    assert output is not None and bool(output.abs().sum(dim=1).gt(0).all())
    read = [5] if kind == "bnb_transformer" else [3, 6, 7, 8, 9]  # [MASK] in added positions; the words written so far
    assert table is not None and table.abs().sum(dim=1).nonzero().flatten().tolist() == read


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_layers_for_inference_use_the_matrix(kind: str, tmp_path: Path, write_bert: WriteBert) -> None:
    model = start(write_bert(tmp_path), kind, untie_output=True).eval()
    model.get_parameter(OUTPUT).normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    fast = copy.deepcopy(model)
    fast.make_generation_fast_()
    ours, expected = logits_of(fast), logits_of(model)
    if kind == "bnb_transformer":  # positions of padding are not computed
        ours, expected = ours[:6], expected[:6]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
