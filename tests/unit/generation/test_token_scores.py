"""Scores of tokens against every alignment of a small canvas."""

import itertools

import numpy as np
import pytest

from bnb_fairseq.generation.ctc_beam import ctc_beam_search
from bnb_fairseq.generation.token_scores import token_scores

from .slow_ctc import PAD, best_of, random_log_probs

BLANK = 3


def test_against_every_alignment() -> None:
    """Of the alignments that say a text the most probable one counts, and of a token's positions the best."""
    log_probs = random_log_probs(6, 5, 4, seed=2)
    lengths = np.array([5, 4, 3, 5, 1, 5])
    symbols = best_of(log_probs, BLANK, 3)
    found = ctc_beam_search(symbols, lengths, 30, PAD)
    checked = 0
    for place in range(0, 30, 3):
        tokens, text_lengths = found.tokens[:, place], found.lengths[:, place]
        scores = token_scores(symbols, lengths, tokens, text_lengths)
        for i, canvas in enumerate(lengths.tolist()):
            if place >= int(found.counts[i]):
                continue
            text = tokens[i, : int(text_lengths[i])].tolist()
            best: list[float] = []
            total = float("-inf")
            for alignment in itertools.product(range(4), repeat=canvas):
                runs = [(token, len(list(run))) for token, run in itertools.groupby(alignment)]
                if [token for token, _ in runs if token != BLANK] != text:
                    continue
                values = [float(log_probs[i, a, token]) for a, token in enumerate(alignment)]
                if sum(values) > total:
                    total, best, start = sum(values), [], 0
                    for token, length in runs:
                        best += [max(values[start : start + length])] if token != BLANK else []
                        start += length
            assert scores[i, : len(text)].tolist() == pytest.approx(best, abs=1e-6)
            assert (scores[i, len(text) :] == 0).all()
            checked += 1
    assert checked > 40


def test_empty_texts() -> None:
    symbols = best_of(random_log_probs(2, 4, 4), BLANK, 3)
    lengths = np.array([4, 2])
    assert token_scores(symbols, lengths, np.zeros((2, 0), np.int64), np.zeros(2, np.int64)).shape == (2, 0)
    scores = token_scores(symbols, lengths, np.full((2, 1), PAD), np.zeros(2, np.int64))
    assert scores.tolist() == [[0.0], [0.0]]
