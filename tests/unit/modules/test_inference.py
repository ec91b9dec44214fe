"""Layers for inference against fairseq's layers, and what they keep between steps and passes."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnb_fairseq import torch_compat
from bnb_fairseq.models.fairseq_layers import decoder_layers, encoder_layers
from bnb_fairseq.modules import inference
from bnb_fairseq.modules.inference import InferenceLinear, InferenceStack, KeyValues, Layout
from bnb_fairseq.modules.layers import LayerSizes

SIZES = LayerSizes(3, 16, 24, 4, dropout=0.1, attention_dropout=0.1, layer_norm_eps=0.01)
ENCODER_WIDTH = 20
PADDINGS = {
    "none": torch.zeros(3, 5, dtype=torch.bool),
    "some": torch.tensor([[0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]], dtype=torch.bool),
}


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=1e-5)


def lively(layers: nn.ModuleList) -> nn.ModuleList:
    """Give every parameter a value of its own, biases and LayerNorms too."""
    with torch.no_grad():
        for i, parameter in enumerate(layers.parameters()):
            parameter.add_(0.3 * random(*parameter.shape, seed=i))
    return layers.eval()


def inference_stack(layers: nn.ModuleList) -> InferenceStack:
    return InferenceStack([layer.state_dict() for layer in layers], SIZES.attention_heads, SIZES.layer_norm_eps)


@pytest.fixture(params=["packed", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With weights laid out for the CPU, and with torch's own products."""
    if request.param == "plain":
        monkeypatch.setattr(inference, "pack_weight", lambda weight, exact: None)
    return str(request.param)


@pytest.mark.parametrize("gelu", [False, True])
@torch.no_grad()
def test_linear(gelu: bool, kind: str) -> None:
    first, second = nn.Linear(16, 5), nn.Linear(16, 7)
    joined = InferenceLinear.of(first, second, gelu=gelu)
    if kind == "plain":
        assert joined.packed is None
    for rows in (1, 3, 70):
        x = random(rows, 16)
        expected = torch.cat([first(x), second(x)], dim=-1)
        assert close(joined(x), F.gelu(expected) if gelu else expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@torch.no_grad()
def test_linear_follows_to_another_type_and_back(dtype: torch.dtype, kind: str) -> None:
    layer, x = nn.Linear(16, 5), random(3, 16)
    found = InferenceLinear.of(layer, gelu=True)
    packed = found.packed is not None
    copied = copy.deepcopy(found)
    parent = nn.Sequential(found).to(dtype)
    assert found.packed is None
    layer.to(dtype)
    expected = F.gelu(layer(x.to(dtype)))
    assert parent(x.to(dtype)).dtype == dtype
    assert torch.allclose(parent(x.to(dtype)), expected)
    layer.float()
    parent.float()
    assert (found.packed is not None) == packed
    assert close(parent(x), F.gelu(layer(x)))
    assert copied.bias.data_ptr() != found.bias.data_ptr()
    assert copied.bias.dtype == torch.float32
    assert (copied.packed is not None) == packed
    assert torch.allclose(copied(x), expected.float(), atol=0.05)


def test_weights_are_packed_where_the_processor_gains() -> None:
    weight = random(6, 4)
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")  # type: ignore[no-untyped-call]
    assert (torch_compat.pack_weight(weight) is not None) == usable
    assert torch_compat.pack_weight(weight.half()) is None
    assert torch_compat.pack_weight(weight.double()) is None


@torch.no_grad()
def test_medium_precision_rounds_all_but_what_must_be_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_compat, "_gains_from_bfloat16", torch_compat._multiplies_bfloat16)
    layer, x = nn.Linear(32, 8), random(5, 32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rounded, exact = InferenceLinear.of(layer), InferenceLinear(layer.weight, layer.bias, exact=True)
    finally:
        torch.set_float32_matmul_precision(before)
    if rounded.packed is None or rounded.packed.dtype != torch.bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    expected = layer(x)
    assert close(exact(x), expected)
    assert rounded(x).dtype == torch.float32
    assert 1e-5 < float((rounded(x) - expected).abs().max()) < 0.03


def test_layout_drops_padding_and_puts_it_back() -> None:
    x = random(3, 5, 2)
    layout = Layout(PADDINGS["some"])
    flat = layout.flat(x)
    assert torch.equal(flat, torch.cat([x[0, :4], x[1, :2], x[2, :1]]))
    restored = layout.padded(flat, 3)
    assert torch.equal(restored, x.masked_fill(PADDINGS["some"].unsqueeze(-1), 0.0))
    assert layout.mask is not None
    assert layout.mask.squeeze().tolist() == [[True] * n + [False] * (5 - n) for n in (4, 2, 1)]


@pytest.mark.parametrize("padding", [None, PADDINGS["none"]])
def test_layout_without_padding_copies_nothing(padding: Tensor | None) -> None:
    x = random(3, 5, 2)
    layout = Layout(padding)
    assert layout.mask is None
    assert layout.flat(x).data_ptr() == layout.padded(layout.flat(x), 3).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("padding", list(PADDINGS))
@torch.no_grad()
def test_encoder(padding: str, kind: str) -> None:
    layers, x, beyond = lively(encoder_layers(SIZES)), random(3, 5, 16), PADDINGS[padding]
    expected = x.transpose(0, 1)
    for layer in layers:
        expected = layer(expected, encoder_padding_mask=beyond)
    states, kept = inference_stack(layers)(x, beyond)
    assert close(states, expected.transpose(0, 1).masked_fill(beyond.unsqueeze(-1), 0.0))
    assert kept == []


def reference(layers: nn.ModuleList, x: Tensor, source: Tensor, source_padding: Tensor, **masks: Any) -> Tensor:
    states = x.transpose(0, 1)
    for layer in layers:
        states, _, _ = layer(states, source, source_padding, **masks)
    return states.transpose(0, 1)


@pytest.mark.parametrize("padding", list(PADDINGS))
@pytest.mark.parametrize("source_padding", list(PADDINGS))
@torch.no_grad()
def test_decoder_that_sees_everything(padding: str, source_padding: str, kind: str) -> None:
    layers, x, beyond = lively(decoder_layers(SIZES, ENCODER_WIDTH)), random(3, 5, 16), PADDINGS[padding]
    source, hidden = random(5, 3, ENCODER_WIDTH, seed=2), PADDINGS[source_padding].flip(0)
    expected = reference(layers, x, source, hidden, self_attn_padding_mask=beyond)
    stack = inference_stack(layers)
    states, _ = stack(x, beyond, stack.read(source, hidden))
    assert close(states, expected.masked_fill(beyond.unsqueeze(-1), 0.0))


@torch.no_grad()
def test_decoder_that_sees_the_left(kind: str) -> None:
    layers, x = lively(decoder_layers(SIZES, ENCODER_WIDTH)), random(3, 6, 16)
    source, hidden = random(5, 3, ENCODER_WIDTH, seed=2), PADDINGS["some"]
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected = reference(layers, x, source, hidden, self_attn_mask=future)
    stack = inference_stack(layers)
    memory = stack.read(source, hidden)
    assert close(stack(x, None, memory, causal=True)[0], expected)
    past = None
    for i in range(6):
        state, past = stack(x[:, i : i + 1], None, memory, past, keep=True)
        assert close(state, expected[:, i : i + 1])
        assert [layer.keys.shape for layer in past] == [(3, 4, i + 1, 4)] * 3


@torch.no_grad()
def test_selected_sentences() -> None:
    stack = inference_stack(lively(decoder_layers(SIZES, ENCODER_WIDTH)))
    memory = stack.read(random(5, 3, ENCODER_WIDTH), PADDINGS["some"])
    rows = torch.tensor([2, 0])
    chosen = memory.selected(rows)
    assert memory.mask is not None
    assert chosen.mask is not None
    assert torch.equal(chosen.mask, memory.mask[rows])
    for all_of_it, some in zip(memory.layers, chosen.layers, strict=True):
        assert torch.equal(some.keys, all_of_it.keys[rows])
        assert torch.equal(some.values, all_of_it.values[rows])
    without = stack.read(random(5, 3, ENCODER_WIDTH), PADDINGS["none"])
    assert without.mask is None
    assert without.selected(rows).mask is None


def test_key_values_grow_to_the_right() -> None:
    old, new = (
        KeyValues(random(2, 4, 3, 5), random(2, 4, 3, 5, seed=2)),
        KeyValues(random(2, 4, 1, 5), random(2, 4, 1, 5)),
    )
    both = old.extended(new)
    assert torch.equal(both.keys[:, :, :3], old.keys)
    assert torch.equal(both.keys[:, :, 3:], new.keys)
    assert torch.equal(both.values[:, :, 3:], new.values)


def test_there_are_few_numbers_of_rows() -> None:
    """oneDNN keeps a product for each."""
    padded = {rows: torch_compat.padded_rows(rows) for rows in range(1, 5000)}
    assert all(rows <= more <= rows * 17 / 16 for rows, more in padded.items())
    assert len(set(padded.values())) <= 160
    assert [padded[rows] for rows in (1, 25, 32, 33, 64, 65, 1000)] == [1, 25, 32, 34, 64, 68, 1024]


@pytest.mark.parametrize("shape", [(1,), (33,), (65,), (130,), (33, 1), (11, 3), (0,)], ids=str)
def test_rows_that_are_added_do_not_count(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    weight, bias, x = torch.randn(6, 5), torch.randn(6), torch.randn(*shape, 5)
    packed = torch_compat.pack_weight(weight)
    if packed is None:
        pytest.skip("oneDNN's layout does not exist here")
    torch.testing.assert_close(torch_compat.packed_linear(x, packed, bias, gelu=False), F.linear(x, weight, bias))
