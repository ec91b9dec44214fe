"""Attention: what fairseq's computes, in float32 under bfloat16's autocast on a CPU."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.modules import MultiheadAttention
from torch import Tensor

from bnb_fairseq.models.causal_decoder import future_mask
from bnb_fairseq.models.fairseq_layers import BertAttention, decoder_layers, encoder_layers
from bnb_fairseq.modules.layers import LayerSizes

LENGTH, SOURCE, BATCH, WIDTH, HEADS = 5, 7, 3, 16, 4
SIZES = LayerSizes(2, WIDTH, 24, HEADS, dropout=0.1, attention_dropout=0.25, layer_norm_eps=1e-12)
PADS = torch.tensor([[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1, 1]]).bool()


@pytest.fixture
def inner_types(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, float]]:
    """Type of the queries and share of dropout of each call of torch's kernel."""
    seen: list[tuple[torch.dtype, float]] = []
    kernel = F.scaled_dot_product_attention

    def listen(query: Tensor, *others: Any, **options: Any) -> Tensor:
        seen.append((query.dtype, options.get("dropout_p", 0.0)))
        return kernel(query, *others, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", listen)
    return seen


def attentions(crossing: bool) -> list[MultiheadAttention]:
    """fairseq's and ours, with the same weights."""
    torch.manual_seed(1)
    options = {"encoder_decoder_attention": crossing, "self_attention": not crossing, "dropout": 0.0}
    if crossing:
        options |= {"kdim": WIDTH + 4, "vdim": WIDTH + 4}
    found: list[MultiheadAttention] = [kind(WIDTH, HEADS, **options) for kind in (MultiheadAttention, BertAttention)]
    for parameter in found[0].parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    found[1].load_state_dict(found[0].state_dict())
    return found


@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_under_autocast_it_computes_what_fairseq_does(
    crossing: bool, padded: bool, causal: bool, inner_types: list[tuple[torch.dtype, float]]
) -> None:
    plain, own = attentions(crossing)
    query = torch.randn(LENGTH, BATCH, WIDTH)
    memory = torch.randn(SOURCE, BATCH, WIDTH + 4) if crossing else query
    options = {
        "key_padding_mask": PADS[:, : len(memory)] if padded else None,
        "attn_mask": future_mask(LENGTH, query.device) if causal and not crossing else None,
        "need_weights": False,
        "static_kv": crossing,
    }
    exact = plain(query, memory, memory, **options)[0]
    torch.testing.assert_close(own(query, memory, memory, **options)[0], exact)
    inner_types.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = own(query, memory, memory, **options)[0]
    assert inner_types == [(torch.float32, 0.0)]
    assert rounded.dtype == torch.bfloat16
    assert float((rounded - exact).abs().max()) < 0.05 * float(exact.abs().max())
    wanted, found = (
        torch.autograd.grad(output.float().square().sum(), layer.q_proj.weight)[0]
        for output, layer in ((exact, plain), (rounded, own))
    )
    assert float((found - wanted).norm()) < 0.05 * float(wanted.norm())


def test_dropout_falls_on_the_weights_in_training_or_if_retained(inner_types: list[tuple[torch.dtype, float]]) -> None:
    query = torch.randn(LENGTH, BATCH, WIDTH)
    own = BertAttention(WIDTH, HEADS, self_attention=True, dropout=0.25)
    with torch.autocast("cpu", torch.bfloat16):
        own.train()(query, query, query, need_weights=False)
        own.eval()(query, query, query, need_weights=False)
        own.dropout_module.apply_during_inference = True  # --retain-dropout
        own(query, query, query, need_weights=False)
    assert inner_types == [(torch.float32, 0.25), (torch.float32, 0.0), (torch.float32, 0.25)]


def test_weights_and_a_mask_of_numbers_are_left_to_fairseq() -> None:
    plain, own = attentions(crossing=False)
    query = torch.randn(LENGTH, BATCH, WIDTH)
    mask = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
    with torch.autocast("cpu", torch.bfloat16):
        for options in ({}, {"attn_mask": mask, "need_weights": False}):
            found, wanted = own(query, query, query, **options), plain(query, query, query, **options)
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_every_layer_has_it() -> None:
    found = [*encoder_layers(SIZES), *decoder_layers(SIZES, WIDTH + 4)]
    kinds = [each for layer in found for each in layer.modules() if isinstance(each, MultiheadAttention)]
    assert [type(each) for each in kinds] == [BertAttention] * 6
    assert {each.dropout_module.p for each in kinds} == {0.25}
    assert {layer.encoder_attn.kdim for layer in found[2:]} == {WIDTH + 4}
