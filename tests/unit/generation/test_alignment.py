"""Weights of cross-attention for the tokens of a text, against fairseq's layers and one sentence at a time."""

import copy
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnb_fairseq.generation.alignment import source_weights
from bnb_fairseq.models.bnb_transformer import BnbTransformer

from .test_generator import CTC, LENGTH, SENTENCES, MakeModel, lively, sample


def source_attention(model: BnbTransformer, source: dict[str, Tensor], layer: int) -> Tensor:
    """Run fairseq's layers and collect the cross-attention of one, A x S, mean over heads."""
    collected: list[Tensor] = []

    def ask(_: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return arguments, {**named, "need_attn": True}

    asked = model.decoder.layers[layer]
    handles = [
        asked.register_forward_pre_hook(ask, with_kwargs=True),
        asked.register_forward_hook(lambda _, __, output: collected.append(output[1])),
    ]
    encoded = model.encode(source["src_tokens"], source["src_lengths"])
    model.decode(encoded, model.canvas(encoded))
    for handle in handles:
        handle.remove()
    return collected[0][0]


def attended(model: BnbTransformer, source: dict[str, Tensor]) -> Tensor:
    layers = range(len(model.decoder.layers))
    return torch.stack([source_attention(model, source, layer) for layer in layers]).mean(dim=0)


@pytest.mark.parametrize("options", [*CTC.values(), LENGTH], ids=[*CTC, "length"])
@torch.no_grad()
def test_against_fairseqs_attention(options: dict[str, Any], make_model: MakeModel) -> None:
    model = lively(make_model(**options), blank=0.0).eval()
    fast = copy.deepcopy(model)
    fast.make_generation_fast_()
    aligns, sources = model.control.has_alignments, sample()["net_input"]
    texts, expected = [], []
    for sentence in SENTENCES:
        alone = sample((sentence,))["net_input"]
        output = model(**alone, target_lengths=None if aligns else torch.tensor([7]))
        best = output.logits.argmax(dim=-1).squeeze(1).tolist()  # on the canvas
        if aligns:
            runs = [list(run) for _, run in groupby(range(len(best)), key=best.__getitem__)]
            runs = [run for run in runs if best[run[0]] != model.control.blank]
            attention = attended(model, alone)
        else:
            runs = [[i] for i in range(1, 6)]  # without [CLS] and [SEP]
            with pytest.MonkeyPatch.context() as patch:
                canvas = model.canvas
                patch.setattr(model, "canvas", lambda encoded, kept=canvas: kept(encoded, torch.tensor([7])))
                attention = attended(model, alone)
        texts.append([best[run[0]] for run in runs])
        rows = [attention[run].mean(dim=0) for run in runs]
        expected.append(torch.stack(rows) if rows else attention[:0])
    assert len({len(text) for text in texts}) > 1 or not aligns
    found = source_weights(fast, sources, texts)
    for ours, theirs, sentence in zip(found, expected, SENTENCES, strict=True):
        torch.testing.assert_close(ours[:, : len(sentence)], theirs, rtol=0, atol=1e-5)
        assert not ours[:, len(sentence) :].any()


@torch.no_grad()
def test_a_text_that_does_not_fit_has_no_weights(make_model: MakeModel) -> None:
    model = lively(make_model(length_control="ctc")).eval()
    model.make_generation_fast_()
    alone = sample(([0, 5, 2],))["net_input"]  # a canvas of 6
    (found,) = source_weights(model, alone, [[7] * 5])
    assert found.shape == (5, 3) and not found.any()
    (fits,) = source_weights(model, alone, [[7, 8, 9]])
    torch.testing.assert_close(fits.sum(dim=1), torch.ones(3))
