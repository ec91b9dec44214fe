"""The record of a sentence against slow loops."""

from collections.abc import Callable
from itertools import groupby, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnb_fairseq.evaluation.refinement_record import Refinement
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Revealed
from bnb_fairseq.network.nar_network import Reveal

from .conftest import KINDS, SENTENCE, TEXT

PAD, MASK = 1, 16


class Slow:
    """Mask-predict in loops: tokens, log-probabilities, hidden positions of each pass; what the last one read."""

    @torch.no_grad()
    def __init__(self, model: BnbTransformer, source: dict[str, Tensor], refinements: int, slots: int) -> None:
        self.canvases: list[list[int]] = []
        self.scores: list[list[float]] = []
        self.hidden: list[list[bool]] = []
        self.read = [MASK] * slots
        for t in range(refinements + 1):
            if t:
                order = sorted(range(slots), key=lambda a: self.scores[-1][a])
                chosen = order[: slots * (refinements + 1 - t) // (refinements + 1)]
                self.read = [MASK if a in chosen else token for a, token in enumerate(self.canvases[-1])]
            else:
                chosen = list(range(slots))
            shown = torch.tensor([self.read]) if model.options.canvas_tokens else None
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
def test_record_against_slow_loops(
    kind: str,
    recorded: Callable[..., tuple[BnbTransformer, Refinement]],
    sample: dict[str, Any],
    small_task: SimpleNamespace,
) -> None:
    model, record = recorded(kind)
    refinements = KINDS[kind][1]
    slow = Slow(model, sample["net_input"], refinements, len(record.passes[0].slots))
    symbols = [*small_task.target_dictionary.symbols, "·"]
    blank = model.control.blank if model.control.has_alignments else PAD
    symbols[blank] = "·"
    assert record.source == ["<s>", "w1", "w3", "w9", "w0", "w0", "</s>"]
    assert (record.sentence, record.allowed, len(record.passes)) == (TEXT, refinements + 1, refinements + 1)
    for t, made in enumerate(record.passes):
        canvas = slow.canvases[t]
        kept = kept_places(model, canvas)
        assert [slot.piece for slot in made.slots] == [symbols[token] for token in canvas]
        assert [slot.probability for slot in made.slots] == pytest.approx(np.exp(slow.scores[t]).tolist(), abs=1e-5)
        assert [slot.again for slot in made.slots] == slow.hidden[t]
        assert [a for a, slot in enumerate(made.slots) if slot.kept] == kept
        words = [symbols[canvas[a]] for a in kept if canvas[a] not in (0, 1, 2, MASK)]
        assert made.text == " ".join(words)
    if model.control.has_alignments:
        assert any(slot.piece == "·" for made in record.passes for slot in made.slots)
        assert any(slot.piece != "·" and not slot.kept for made in record.passes for slot in made.slots)
    assert refinements == 0 or any(any(hidden) for hidden in slow.hidden)


def attend(module: Any, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Attention in loops over heads: mean weights, and the output."""
    weights, outputs = [], []
    width = module.head_dim
    for head in range(module.num_heads):
        rows = slice(head * width, (head + 1) * width)
        q, k, v = (
            F.linear(x, layer.weight[rows], layer.bias[rows])
            for x, layer in ((query, module.q_proj), (memory, module.k_proj), (memory, module.v_proj))
        )
        weights.append((q @ k.T / width**0.5).softmax(dim=1))
        outputs.append(weights[-1] @ v)
    return torch.stack(weights).mean(dim=0), module.out_proj(torch.cat(outputs, dim=1))


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_attention_against_slow_loops(
    kind: str, layer: int, recorded: Callable[..., tuple[BnbTransformer, Refinement]], sample: dict[str, Any]
) -> None:
    model, record = recorded(kind, layer)
    slots = len(record.passes[0].slots)
    slow = Slow(model, sample["net_input"], KINDS[kind][1], slots)
    encoded = model.encode(sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"])
    canvas = model.canvas(encoded)
    shown = torch.tensor([slow.read]) if model.options.canvas_tokens else None
    decoder: Any = model.decoder
    one = decoder.layers[layer]
    x = decoder.embeddings(decoder.canvas_content(canvas, shown))[0]
    if layer:
        x = list(decoder.layer_states(canvas, encoded.states, encoded.padding, shown))[layer - 1][:, 0]
    x = one.self_attn_layer_norm(x + attend(one.self_attn, x, x)[1])
    expected, _ = attend(one.encoder_attn, x, encoded.states[: len(SENTENCE), 0])
    assert record.attention.shape == (slots, len(SENTENCE))
    torch.testing.assert_close(record.attention.sum(dim=1), torch.ones(slots), rtol=0, atol=1e-5)
    torch.testing.assert_close(record.attention, expected, rtol=0, atol=1e-5)
    assert record.attention.std(dim=0).max() > 0.01, "all slots look the same, the comparison proves little"
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in decoder.layers)


def test_an_early_end(
    recorded: Callable[..., tuple[BnbTransformer, Refinement]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the text stays as it is, the record ends with the pass that showed it."""
    monkeypatch.setitem(KINDS, "length", (KINDS["length"][0], 8))
    _, record = recorded("length", force=False)
    texts = [made.text for made in record.passes]
    assert 1 < len(texts) < record.allowed == 9
    assert texts[-1] == texts[-2]
    assert all(left != right for left, right in pairwise(texts[:-1]))
    changed = f"pass {len(texts) - 2} was the last to change the text" if len(texts) > 2 else "pass 0 wrote the text"
    assert record.summary == f"{len(texts)} of at most 9 passes made; {changed}"
