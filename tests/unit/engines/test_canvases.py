"""The canvas after each pass against slow loops."""

from collections.abc import Callable
from itertools import groupby, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.engines.nar import NarEngine
from bnb_fairseq.folder.vocabulary import PLAIN_SPECIALS, PlainVocabulary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Revealed
from bnb_fairseq.network.nar_network import Reveal
from bnb_fairseq.written import Pass, Written, as_symbols

MakeModel = Callable[..., BnbTransformer]
SENTENCE, OTHER = [0, 5, 7, 13, 4, 4, 2], [0, 9, 9, 6, 2]
PAD, MASK = 1, 16
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
def lively(make_model: MakeModel) -> Callable[[str], BnbTransformer]:
    """A random model in which tokens are chosen about equally often, and the blank more."""

    @torch.no_grad()
    def make(kind: str) -> BnbTransformer:
        model = make_model(seed=5, **KINDS[kind][0])
        model.decoder.embeddings.positions.weight.mul_(3)
        gold = None if model.control.has_alignments else torch.tensor([9])
        lengths = torch.tensor([len(SENTENCE)])
        logits = model(torch.tensor([SENTENCE]), lengths, target_lengths=gold).logits
        model.decoder.head.bias.sub_(logits.mean(dim=(0, 1)))
        if model.control.has_alignments:
            model.decoder.head.bias[model.control.blank] += 0.5
        return model

    return make


@pytest.fixture
def written(
    lively: Callable[[str], BnbTransformer], small_task: SimpleNamespace
) -> Callable[..., tuple[BnbTransformer, list[list[Pass]]]]:
    """A model, and what its engine makes of a batch of two sentences."""

    def make(kind: str, refinements: int, force: bool = True) -> tuple[BnbTransformer, list[list[Pass]]]:
        model = lively(kind)
        dictionaries = small_task.source_dictionary, small_task.target_dictionary
        source, target = (PlainVocabulary(each.symbols, PLAIN_SPECIALS) for each in dictionaries)
        found = NarEngine(model, source, target).canvases(
            [SENTENCE, OTHER], {"iter_decode_max_iter": refinements, "iter_decode_force_max_iter": force}
        )
        assert found is not None
        return model, [[as_symbols(one, target) for one in passes] for passes in found]

    return make


class Slow:
    """Mask-predict in loops: tokens, log-probabilities and hidden positions of each pass."""

    @torch.no_grad()
    def __init__(self, model: BnbTransformer, sentence: list[int], refinements: int, slots: int) -> None:
        self.canvases: list[list[int]] = []
        self.scores: list[list[float]] = []
        self.hidden: list[list[bool]] = []
        source: dict[str, Tensor] = {
            "src_tokens": torch.tensor([sentence]),
            "src_lengths": torch.tensor([len(sentence)]),
        }
        read = [MASK] * slots
        for t in range(refinements + 1):
            if t:
                order = sorted(range(slots), key=lambda a: self.scores[-1][a])
                chosen = order[: slots * (refinements + 1 - t) // (refinements + 1)]
                read = [MASK if a in chosen else token for a, token in enumerate(self.canvases[-1])]
            else:
                chosen = list(range(slots))
            shown = torch.tensor([read]) if model.options.canvas_tokens else None
            reveal: Reveal = lambda canvas, guess, shown=shown: Revealed(shown, ~canvas.padding)  # type: ignore[misc]  # noqa: E731
            gold = None if model.control.has_alignments else torch.tensor([slots])
            log_probs = model(**source, target_lengths=gold, reveal=reveal).logits.double().log_softmax(dim=-1)
            tokens = list(self.canvases[-1]) if t else [0] * slots
            scores = list(self.scores[-1]) if t else [0.0] * slots
            for a in chosen:
                tokens[a] = int(log_probs[a].argmax())
                scores[a] = float(log_probs[a].max())
            self.canvases.append(tokens)
            self.scores.append(scores)
            self.hidden.append([t > 0 and a in chosen for a in range(slots)])


def kept_places(model: BnbTransformer, canvas: list[int]) -> list[int]:
    if not model.control.has_alignments:
        return [a for a, token in enumerate(canvas) if token != PAD]
    runs = [list(run) for _, run in groupby(range(len(canvas)), key=canvas.__getitem__)]
    return [run[0] for run in runs if canvas[run[0]] != model.control.blank]


@pytest.mark.parametrize("kind", KINDS)
def test_passes_against_slow_loops(
    kind: str, written: Callable[..., tuple[BnbTransformer, list[list[Pass]]]], small_task: SimpleNamespace
) -> None:
    refinements = KINDS[kind][1]
    model, found = written(kind, refinements)
    blank = model.control.blank if model.control.has_alignments else PAD
    symbols = small_task.target_dictionary.symbols
    for sentence, passes in zip((SENTENCE, OTHER), found, strict=True):
        slow = Slow(model, sentence, refinements, len(passes[0].slots))
        assert len(passes) == refinements + 1
        for t, made in enumerate(passes):
            canvas = slow.canvases[t]
            kept = [a for a in kept_places(model, canvas) if canvas[a] not in (0, 1, 2, MASK)]
            assert [slot.symbol for slot in made.slots] == [None if i == blank else symbols[i] for i in canvas]
            expected = np.exp(slow.scores[t]).tolist()
            assert [slot.probability for slot in made.slots] == pytest.approx(expected, abs=1e-5)
            assert [slot.again for slot in made.slots] == slow.hidden[t]
            assert [a for a, slot in enumerate(made.slots) if slot.kept] == kept
            assert made.text == " ".join(symbols[canvas[a]] for a in kept)
        assert refinements == 0 or any(any(hidden) for hidden in slow.hidden)
    if model.control.has_alignments:
        slots = [slot for made in found[0] for slot in made.slots]
        assert any(slot.symbol is None for slot in slots)
        assert any(slot.symbol is not None and not slot.kept for slot in slots)


def test_an_early_end(written: Callable[..., tuple[BnbTransformer, list[list[Pass]]]]) -> None:
    """Once the text of a sentence stays as it is, its passes end with the one that showed it."""
    _, found = written("length", 8, force=False)
    for passes in found:
        texts = [made.text for made in passes]
        assert 1 < len(texts) < 9
        assert texts[-1] == texts[-2]
        assert all(left != right for left, right in pairwise(texts[:-1]))
        assert Written("", passes).settled == len(texts) - 2
    assert Written("", []).settled == 0
