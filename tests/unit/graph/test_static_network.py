"""The network without branches against the model as it is trained, on random weights of every option."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.graph.static_network import StaticNetwork
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Canvas, Revealed

LENGTHS = (7, 3, 12, 1)
ASKED = torch.tensor([[5, 9, 6], [4, 13, 7], [8, 5, 10], [6, 4, 12]])
OPTIONS: list[dict[str, Any]] = [
    {},
    {"latent_size": 0},
    {"ctc_upsample": 2.2, "untie_output": True},
    {"ctc_upsample": 0.7, "latent_size": 0, "ctc_canvas": "repeat"},
    {"ctc_canvas": "repeat", "ctc_blank": "pad", "latent_size": 20, "latent": "vae"},
    {"ctc_canvas_length": 15, "ctc_blank": "mask"},
    {"ctc_upsample": 1.3, "ctc_extra": 4},
    {"ctc_upsample": 0.4, "ctc_extra": 3, "ctc_canvas": "repeat", "canvas_tokens": True},
    {"canvas_tokens": True},
    {"canvas_tokens": True, "ctc_canvas": "repeat", "latent_size": 0},
    {"length_control": "length", "length_range": 9},
    {"length_control": "length", "length_range": 3, "canvas_tokens": True, "latent_size": 0},
]


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Sources of two segments: [SEP], 2, stands in the middle and at the end."""
    tokens = torch.full((len(lengths), max(lengths)), 1)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.randint(4, 14, (length,), generator=torch.Generator().manual_seed(length))
        row[length // 2] = row[length - 1] = 2
    return tokens, torch.tensor(lengths)


def some_symbols(shape: tuple[int, ...], symbols: int) -> Tensor:
    """B x A random ids, which a decoder reads on the canvas."""
    return torch.randint(0, symbols, shape, generator=torch.Generator().manual_seed(1))


def log_probabilities(
    model: BnbTransformer, tokens: Tensor, lengths: Tensor, canvas_lengths: Tensor, shown: Tensor
) -> Tensor:
    """B x A x V of the model that is shown tokens; zeros beyond the canvases."""

    def reveal(canvas: Canvas, _: object) -> Revealed:
        return Revealed(shown, ~canvas.padding)

    gold = None if model.control.has_alignments else canvas_lengths
    inside = torch.arange(shown.size(1)) < canvas_lengths.unsqueeze(1)
    logits = model(tokens, lengths, gold, reveal).logits  # N x V
    log_probs = logits.new_zeros(*shown.shape, logits.size(1))
    log_probs[inside] = logits.log_softmax(dim=-1)
    return log_probs


@pytest.mark.parametrize("options", [OPTIONS[i] for i in (0, 2, 4, -2)], ids=str)
@torch.no_grad()
def test_candidates_alone(
    options: dict[str, Any], make_model: Callable[..., BnbTransformer], small_task: SimpleNamespace
) -> None:
    """As if the vocabulary were no larger; what is asked for are places among the candidates."""
    model = make_model(**options)
    dictionaries = small_task.source_dictionary, small_task.target_dictionary
    static = StaticNetwork(model.options, *dictionaries, model.state_dict(), symbols=3).eval()
    candidates = torch.tensor(sorted({2, 5, 6, 9, 11, static.blank}))
    tokens, lengths = batch()
    places = torch.tensor([[1, 3], [0, 2], [2, 2], [4, 0]])
    symbols, scores, blank_scores, canvas_lengths, asked_scores = static(tokens, lengths, places, candidates)
    log_probs = model(tokens, lengths).logits.transpose(0, 1)[:, :, candidates].log_softmax(dim=-1)
    blank = candidates.tolist().index(static.blank)
    for i, length in enumerate(canvas_lengths.tolist()):
        wanted = log_probs[i, :length].topk(3)
        assert torch.equal(symbols[i, :length], candidates[wanted.indices])
        assert torch.allclose(scores[i, :length], wanted.values, rtol=0, atol=1e-4)
        assert torch.allclose(blank_scores[i, :length], log_probs[i, :length, blank], rtol=0, atol=1e-4)
        assert torch.allclose(asked_scores[i, :length], log_probs[i, :length, places[i]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_against_the_model(
    options: dict[str, Any], make_model: Callable[..., BnbTransformer], small_task: SimpleNamespace
) -> None:
    """A decoder that reads tokens is shown any: they count in torch as in the graph."""
    model = make_model(**options)
    dictionaries = small_task.source_dictionary, small_task.target_dictionary
    static = StaticNetwork(model.options, *dictionaries, model.state_dict(), symbols=4).eval()
    tokens, lengths = batch()
    if static.reads_tokens:
        states, padding, content, beyond, canvas_lengths = static.encode(tokens, lengths)
        shown = some_symbols(tuple(beyond.shape), len(static.output_bias))
        log_probs = log_probabilities(model, tokens, lengths, canvas_lengths, shown)
        symbols, scores, blank_scores, asked_scores = static.decode(states, padding, content, beyond, shown, ASKED)
    else:
        symbols, scores, blank_scores, canvas_lengths, asked_scores = static(tokens, lengths, ASKED)
        log_probs = model(tokens, lengths).logits.log_softmax(dim=-1).transpose(0, 1)  # A x B x V -> B x A x V
    expected = model(tokens, lengths)
    assert static.blank == model.control.blank
    assert canvas_lengths.tolist() == expected.canvas_lengths.tolist()
    assert len(set(canvas_lengths.tolist())) > 1 or "ctc_canvas_length" in options
    for i, length in enumerate(canvas_lengths.tolist()):
        wanted = log_probs[i, :length].topk(4)
        assert torch.equal(symbols[i, :length], wanted.indices)
        assert torch.allclose(scores[i, :length], wanted.values, rtol=0, atol=1e-4)
        assert torch.allclose(blank_scores[i, :length], log_probs[i, :length, static.blank], rtol=0, atol=1e-4)
        assert torch.allclose(asked_scores[i, :length], log_probs[i, :length, ASKED[i]], rtol=0, atol=1e-4)
