"""The decoder against its formulas, written out position by position."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.fairseq_layers import decoder_layers
from bnb_fairseq.modules.canvas import Canvas
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_decoder import MaskedWordHead
from bnb_fairseq.network.nar_decoder import NarDecoder

WIDTH, HEADS, ENCODER_WIDTH, LATENT, EPSILON = 8, 2, 6, 3, 0.05
SIZES = LayerSizes(2, WIDTH, 12, HEADS, 0.1, 0.1, EPSILON)
MakeDecoder = Callable[..., NarDecoder]


@pytest.fixture
def make_decoder(
    make_dictionary: Callable[[int], BnbDictionary], random_parameters: Callable[[nn.Module, int], None]
) -> MakeDecoder:
    def make(extra_symbols: int = 0, project_latent: bool = True) -> NarDecoder:
        latent = LATENT if project_latent else WIDTH
        decoder = NarDecoder(
            make_dictionary(4),
            SIZES,
            latent,
            11,
            partial(decoder_layers, encoder_dim=ENCODER_WIDTH),
            extra_symbols,
            project_latent,
        )
        random_parameters(decoder, 2)
        return decoder.double().eval()

    return make


def gelu(x: Tensor) -> Tensor:
    return torch.tensor([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], dtype=torch.float64)


def normalise(x: Tensor, norm: nn.Module) -> Tensor:
    deviation = math.sqrt(float((x - x.mean()).square().mean()) + EPSILON)
    return (x - x.mean()) / deviation * norm.get_parameter("weight") + norm.get_parameter("bias")


def linear(x: Tensor, layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight") @ x + layer.get_parameter("bias")


def attend(query: Tensor, memory: list[Tensor], attention: nn.Module) -> Tensor:
    """Multi-head attention of one position over the vectors it may see."""

    def project(name: str, x: Tensor) -> Tensor:
        return linear(x, attention.get_submodule(f"{name}_proj"))

    mixed, width = torch.zeros(WIDTH, dtype=torch.float64), WIDTH // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = [math.exp(float(project("q", query)[part] @ project("k", x)[part]) / math.sqrt(width)) for x in memory]
        for score, x in zip(scores, memory, strict=True):
            mixed[part] += score / sum(scores) * project("v", x)[part]
    return project("out", mixed)


def slow_decoder(decoder: NarDecoder, content: list[Tensor], memory: list[Tensor]) -> list[Tensor]:
    """One sentence without padding: content + position + type 0, then every layer."""
    embeddings = decoder.embeddings
    states = [
        normalise(x + embeddings.positions.weight[a] + embeddings.types.weight[0], embeddings.layer_norm)
        for a, x in enumerate(content)
    ]
    for layer in decoder.layers:
        seen = states
        states = []
        for state in seen:
            part = layer.get_submodule
            x = normalise(state + attend(state, seen, part("self_attn")), part("self_attn_layer_norm"))
            x = normalise(x + attend(x, memory, part("encoder_attn")), part("encoder_attn_layer_norm"))
            inner = gelu(linear(x, part("fc1")))
            states.append(normalise(x + linear(inner, part("fc2")), part("final_layer_norm")))
    return states


@torch.no_grad()
@pytest.mark.parametrize("read_tokens", [False, True])
@pytest.mark.parametrize("project_latent", [True, False])
@pytest.mark.parametrize("mark_added", [True, False])
def test_against_the_formulas(
    project_latent: bool, mark_added: bool, read_tokens: bool, make_decoder: MakeDecoder
) -> None:
    decoder = make_decoder(1, project_latent)
    generator = torch.Generator().manual_seed(1)
    lengths, source_lengths = [5, 2], [2, 4]
    latent = torch.randn(2, 5, LATENT if project_latent else WIDTH, generator=generator, dtype=torch.float64)
    memory = torch.randn(4, 2, ENCODER_WIDTH, generator=generator, dtype=torch.float64)
    padding = torch.arange(5) >= torch.tensor(lengths).unsqueeze(1)
    source_padding = torch.arange(4) >= torch.tensor(source_lengths).unsqueeze(1)
    added = torch.tensor([[False, True, False, True, True]]).expand(2, -1) if mark_added else None
    tokens = torch.tensor([[4, 8, 5, 8, 0], [8, 2, 1, 1, 1]]) if read_tokens else None
    ours = decoder(Canvas(latent, torch.tensor(lengths), padding, added), memory, source_padding, tokens)
    assert ours.shape == (5, 2, WIDTH)
    table, projection = decoder.embeddings.tokens.weight, decoder.latent_projection
    assert (projection is not None) == project_latent
    for b in range(2):
        content = []
        for a in range(lengths[b]):
            if projection is None:
                x = decoder.latent_scale * latent[b, a]
            else:
                x = gelu(projection.weight @ latent[b, a] + projection.bias)
            if added is not None and bool(added[b, a]):
                x = torch.zeros(WIDTH, dtype=torch.float64) if read_tokens else table[8]
            content.append(x if tokens is None else x + table[tokens[b, a]])
        states = slow_decoder(decoder, content, [memory[s, b] for s in range(source_lengths[b])])
        for a, state in enumerate(states):
            difference = (ours[a, b] - state).abs().max()
            assert difference < 1e-6, difference  # fairseq's attention has a softmax in float32


@torch.no_grad()
@pytest.mark.parametrize("extra_symbols", [0, 1])
def test_head_against_its_formula(extra_symbols: int, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(extra_symbols)
    states = torch.randn(3, 2, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = decoder.output_layer(states)
    table = decoder.embeddings.tokens.weight
    assert table.size(0) == 9 + extra_symbols
    assert logits.shape == (3, 2, 9 + extra_symbols)
    for a in range(3):
        for b in range(2):
            inner = gelu(decoder.head.transform.weight @ states[a, b] + decoder.head.transform.bias)
            inner = normalise(inner, decoder.head.layer_norm)
            for v in range(9 + extra_symbols):
                assert abs(float(logits[a, b, v] - inner @ table[v] - decoder.head.bias[v])) < 1e-12


def test_output_layer_is_tied(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    assert sum(tuple(p.shape) == (9, WIDTH) for p in decoder.parameters()) == 1
    torch.autograd.backward(decoder.output_layer(torch.ones(1, WIDTH, dtype=torch.float64)).sum())
    gradient = decoder.embeddings.tokens.weight.grad
    assert gradient is not None and gradient.abs().sum(dim=1).gt(0).all()


@torch.no_grad()
def test_other_batch_shapes_of_the_head() -> None:
    head = MaskedWordHead(5, SIZES)
    table, states = torch.randn(5, WIDTH), torch.randn(4, 3, WIDTH)
    assert torch.allclose(
        head(states.view(12, WIDTH), table).whole().view(4, 3, 5), head(states, table).whole(), atol=1e-6
    )


def test_dropout_and_positions(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    assert decoder.max_positions() == 11
    canvas = Canvas(
        torch.ones(1, 4, LATENT, dtype=torch.float64), torch.tensor([4]), torch.zeros(1, 4, dtype=torch.bool), None
    )
    memory, source_padding = torch.ones(2, 1, ENCODER_WIDTH, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.bool)
    assert torch.equal(decoder(canvas, memory, source_padding), decoder(canvas, memory, source_padding))
    decoder.train()
    assert not torch.equal(decoder(canvas, memory, source_padding), decoder(canvas, memory, source_padding))
