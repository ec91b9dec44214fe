"""Models prepared for inference, as fairseq's commands prepare them, against the same models as they were trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import GeneratorOptions
from bnb_fairseq.models.bnb_transformer import BnbTransformer

from ...facts import names

MakeModel = Callable[..., BnbTransformer]
MODELS: dict[str, dict[str, Any]] = {
    "ctc": {},
    "ctc-repeat": {"ctc_canvas": "repeat", "ctc_blank": "pad", "ctc_upsample": 2.5},
    "ctc-short-canvas": {"ctc_upsample": 0.4},
    "ctc-fixed-canvas": {"ctc_canvas_length": 9, "ctc_blank": "pad"},
    "ctc-vae": {"latent": "vae"},
    "length": {"length_control": "length", "length_range": 6},
    "no-latent": {"length_control": "length", "length_range": 6, "latent_size": 0},
    "refining": {"length_control": "length", "length_range": 6, "canvas_tokens": True},
}
SOURCES = torch.tensor([[0, 5, 7, 13, 4, 2], [0, 9, 6, 2, 1, 1], [0, 8, 2, 1, 1, 1]])
BATCH = {"src_tokens": SOURCES, "src_lengths": SOURCES.ne(1).sum(dim=1)}


def pair(make_model: MakeModel, name: str) -> tuple[BnbTransformer, BnbTransformer]:
    plain, prepared = make_model(seed=4, **MODELS[name]), make_model(seed=4, **MODELS[name])
    prepared.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False, retain_dropout=False)
    return plain, prepared


@pytest.mark.parametrize("name", list(MODELS))
@torch.no_grad()
def test_same_logits(name: str, make_model: MakeModel) -> None:
    plain, prepared = pair(make_model, name)
    lengths = None if plain.control.has_alignments else torch.tensor([7, 3, 5])
    expected, found = (model(**BATCH, target_lengths=lengths) for model in (plain, prepared))
    inside = torch.arange(len(expected.logits)).unsqueeze(1) < expected.canvas_lengths
    assert torch.allclose(found.logits[inside], expected.logits[inside], rtol=0, atol=2e-5)
    if expected.length_logits is not None:
        assert torch.allclose(found.length_logits, expected.length_logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
def test_same_translations(name: str, make_model: MakeModel) -> None:
    options = GeneratorOptions(max_iter=3, force_max_iter=True) if name == "refining" else GeneratorOptions()
    outputs = [
        NarGenerator([model], BnbDictionary(), options).generate([model], {"net_input": BATCH})
        for model in pair(make_model, name)
    ]
    for plain, prepared in zip(*outputs, strict=True):
        assert prepared[0]["tokens"].tolist() == plain[0]["tokens"].tolist()
        assert torch.allclose(prepared[0]["positional_scores"], plain[0]["positional_scores"], rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_source_is_projected_once_for_all_passes(make_model: MakeModel) -> None:
    plain, prepared = pair(make_model, "refining")
    assert plain.encode(**BATCH).memory is None
    encoded = prepared.encode(**BATCH)
    assert encoded.memory is not None
    canvas = prepared.canvas(encoded, torch.tensor([7, 3, 5]))
    expected = prepared.decode(encoded._replace(memory=None), canvas)
    garbled = encoded._replace(states=torch.zeros_like(encoded.states))
    assert torch.equal(prepared.decode(garbled, canvas), expected)


def test_no_weight_is_held_twice(make_model: MakeModel) -> None:
    _, prepared = pair(make_model, "ctc")
    assert len(prepared.encoder.layers) == len(prepared.decoder.layers) == 0
    names = {name for name, _ in prepared.named_parameters()}
    assert not any("fc1" in name or "q_proj" in name for name in names), names


def test_dropout_that_is_to_stay_keeps_the_layers(make_model: MakeModel) -> None:
    model = make_model()
    model.make_generation_fast_(retain_dropout=True, retain_dropout_modules=None)
    assert model.encoder.inference is None
    assert model.decoder.inference is None
    assert len(model.encoder.layers) == len(model.decoder.layers) == 2


def test_states_of_all_layers_are_gone(make_model: MakeModel) -> None:
    _, prepared = pair(make_model, "ctc")
    with pytest.raises(ValueError, match=names("return_all_hiddens", "False", "make_generation_fast_", "True")):
        prepared.encoder(**BATCH, return_all_hiddens=True)


def sentence(model: BnbTransformer, row: Tensor) -> list[int]:
    batch = {"src_tokens": row.unsqueeze(0), "src_lengths": torch.tensor([len(row)])}
    hypotheses = NarGenerator([model], BnbDictionary(), GeneratorOptions()).generate([model], {"net_input": batch})
    tokens: list[int] = hypotheses[0][0]["tokens"].tolist()
    return tokens


@pytest.mark.parametrize("name", ["ctc", "length"])
def test_batch_mates_do_not_matter(name: str, make_model: MakeModel) -> None:
    _, prepared = pair(make_model, name)
    hypotheses = NarGenerator([prepared], BnbDictionary(), GeneratorOptions()).generate(
        [prepared], {"net_input": BATCH}
    )
    for row, length, hypothesis in zip(SOURCES, BATCH["src_lengths"].tolist(), hypotheses, strict=True):
        assert sentence(prepared, row[:length]) == hypothesis[0]["tokens"].tolist()
