"""Records of what small models do with a sentence, and one made by hand."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnb_fairseq.evaluation.refinement_record import Pass, Refinement, Slot, record
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import GeneratorOptions
from bnb_fairseq.models.bnb_transformer import BnbTransformer

MakeModel = Callable[..., BnbTransformer]
SENTENCE, TEXT = [0, 5, 7, 13, 4, 4, 2], "w1 w3 w9 w0 w0"
KINDS: dict[str, tuple[dict[str, Any], int]] = {  # options of a model, and refinements
    "ctc": ({"length_control": "ctc", "canvas_tokens": True}, 3),
    "ctc, fixed canvas": (
        {"length_control": "ctc", "canvas_tokens": True, "ctc_canvas_length": 16, "ctc_blank": "pad"},
        2,
    ),
    "length": ({"length_control": "length", "length_range": 6, "canvas_tokens": True}, 3),
    "one pass": ({"length_control": "ctc"}, 0),
}


@pytest.fixture
def sample() -> dict[str, Any]:
    return {"net_input": {"src_tokens": torch.tensor([SENTENCE]), "src_lengths": torch.tensor([len(SENTENCE)])}}


@pytest.fixture
def lively(make_model: MakeModel, sample: dict[str, Any]) -> Callable[[str], BnbTransformer]:
    """A random model in which tokens are chosen about equally often, and the blank more."""

    @torch.no_grad()
    def make(kind: str) -> BnbTransformer:
        model = make_model(seed=5, **KINDS[kind][0])
        model.decoder.embeddings.positions.weight.mul_(3)
        gold = None if model.control.has_alignments else torch.tensor([9])
        logits = model(**sample["net_input"], target_lengths=gold).logits
        model.decoder.head.bias.sub_(logits.mean(dim=(0, 1)))
        if model.control.has_alignments:
            model.decoder.head.bias[model.control.blank] += 0.5
        return model

    return make


@pytest.fixture
def recorded(
    lively: Callable[[str], BnbTransformer], small_task: SimpleNamespace, sample: dict[str, Any]
) -> Callable[..., tuple[BnbTransformer, Refinement]]:
    """A model, and what it does with the sentence."""

    def make(kind: str, layer: int = 1, force: bool = True) -> tuple[BnbTransformer, Refinement]:
        model, refinements = lively(kind), KINDS[kind][1]
        dictionaries = (small_task.source_dictionary, small_task.target_dictionary)
        generator = NarGenerator([model], dictionaries[1], GeneratorOptions(refinements, force, True))
        return model, record(generator, dictionaries, sample, TEXT, layer)

    return make


@pytest.fixture
def hostile() -> Refinement:
    """A record with everything that HTML could take for its own."""
    pieces = ["<b>", "&amp;", "$x^$", "▁Straße", "\"'", "·", "▁Straße"]

    def row(shift: float, again: int, text: str) -> Pass:
        slots = [Slot(piece, (i + shift) / 7, i == again, i not in (5, 6)) for i, piece in enumerate(pieces)]
        return Pass(slots, text)

    passes = [row(0.0, -1, "<b>&amp; $x^$ Straße"), row(0.5, 3, "<b>&amp; $x^$ Straße \\frac"), row(1.0, 4, "")]
    attention = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    return Refinement("a <i>b</i> & $c", ["[CLS]", "<script>", "$_"], passes, 5, 1, attention)
