"""CTC prefix beam search written with dictionaries and loops, and every text of a small canvas."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols, CtcHypotheses

PAD = 99
Text = tuple[int, ...]
Gain = Callable[[Text, int], float]


def random_log_probs(sentences: int, canvas: int, symbols: int, seed: int = 1, spread: float = 2.0) -> Array:
    logits = torch.randn(sentences, canvas, symbols, generator=torch.Generator().manual_seed(seed)).double()
    found: Array = (spread * logits).log_softmax(dim=-1).numpy()
    return found


def best_of(log_probs: Array, blank: int, k: int) -> CanvasSymbols:
    others = log_probs.copy()
    others[..., blank] = -np.inf
    tokens = np.argsort(-others, axis=-1, kind="stable")[..., :k]
    return CanvasSymbols(np.take_along_axis(others, tokens, axis=-1), tokens, log_probs[..., blank].copy())


def sentence_of(symbols: CanvasSymbols, i: int) -> CanvasSymbols:
    """One sentence, without B in the shapes."""
    return CanvasSymbols(symbols.scores[i], symbols.tokens[i], symbols.blank_scores[i])


def listed(found: CtcHypotheses, sentence: int) -> dict[Text, tuple[float, float]]:
    """Texts with both scores, in order."""
    count = int(found.counts[sentence])
    texts = {}
    for j in range(count):
        length = int(found.lengths[sentence, j])
        text = tuple(found.tokens[sentence, j, :length].tolist())
        assert text not in texts
        assert (found.tokens[sentence, j, length:] == PAD).all()
        texts[text] = (float(found.ctc_scores[sentence, j]), float(found.scores[sentence, j]))
    assert (found.scores[sentence, count:] == float("-inf")).all()
    return texts


def every_text(log_probs: Array, blank: int) -> dict[Text, float]:
    """Log-probability of each text from every alignment of a canvas, A x V."""
    probs: dict[Text, float] = {}
    for alignment in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank)
        prob = math.exp(sum(float(log_probs[i, symbol]) for i, symbol in enumerate(alignment)))
        probs[text] = probs.get(text, 0.0) + prob
    return {text: math.log(prob) for text, prob in probs.items()}


def nothing(text: Text, token: int) -> float:
    return 0.0


def slow_search(
    symbols: CanvasSymbols, length: int, beam: int, gain: Gain = nothing
) -> dict[Text, tuple[float, float]]:
    """One sentence, A in place of N; probabilities, not their logarithms; ``gain`` of token -1 is that of the end."""
    kept: dict[Text, tuple[float, float]] = {(): (1.0, 0.0)}
    added: dict[Text, float] = {(): 0.0}
    for i in range(length):
        blank = math.exp(symbols.blank_scores[i])
        found: dict[Text, list[float]] = {text: [0.0, 0.0] for text in kept}
        for text, (in_blank, in_token) in kept.items():
            found[text][0] += (in_blank + in_token) * blank
            for token, score in zip(symbols.tokens[i].tolist(), np.exp(symbols.scores[i]).tolist(), strict=True):
                longer = (*text, token)
                added[longer] = added[text] + gain(text, token)
                places = found.setdefault(longer, [0.0, 0.0])
                if text and text[-1] == token:
                    found[text][1] += in_token * score
                    places[1] += in_blank * score
                else:
                    places[1] += (in_blank + in_token) * score
        alive = [text for text in found if sum(found[text]) > 0]
        best = sorted(alive, key=lambda text: -math.log(sum(found[text])) - added[text])[:beam]
        kept = {text: (found[text][0], found[text][1]) for text in best}
    logs = {text: math.log(sum(kept[text])) for text in kept}
    scores = {text: (log, log + added[text] + gain(text, -1)) for text, log in logs.items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1][1]))


def assert_same(
    found: dict[Text, tuple[float, float]], expected: dict[Text, tuple[float, float]], tolerance: float = 1e-9
) -> None:
    assert list(found) == list(expected)
    for text, scores in expected.items():
        assert found[text] == pytest.approx(scores, rel=0, abs=tolerance)
