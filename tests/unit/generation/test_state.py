"""The functions that make one decoding state from another, with numbers worked out by hand."""

from functools import partial

import pytest
import torch

from bnb_fairseq.generation.state import DecodingState, first_state, least_confident, refined, tokens_to_mask
from bnb_fairseq.modules.collapse import kept_by_ctc, kept_on_canvas

KEPT = partial(kept_on_canvas, blank=1)


def make_state(done: list[bool]) -> DecodingState:
    return DecodingState(
        tokens=torch.tensor([[5, 6, 7], [8, 9, 1], [4, 4, 4]]),
        scores=torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0], [-6.0, -7.0, -8.0]]),
        lengths=torch.tensor([3, 2, 3]),
        passes=torch.tensor([2, 3, 2]),
        done=torch.tensor(done),
    )


HIDDEN = torch.tensor([[False, True, True], [True, False, False], [True, False, False]])
# The first sentence changes, the second and the third predict what was there; elsewhere values that must not be read.
TOKENS = torch.tensor([[99, 6, 2], [8, 99, 99], [4, 99, 99]])
SCORES = torch.tensor([[9.0, -0.25, -0.5], [-0.75, 9.0, 9.0], [-0.125, 9.0, 9.0]])


def test_first_state() -> None:
    tokens, scores, lengths = torch.tensor([[5, 6], [7, 1]]), torch.zeros(2, 2), torch.tensor([2, 1])
    state = first_state(tokens, scores, lengths)
    assert state.tokens is tokens and state.scores is scores and state.lengths is lengths
    assert state.passes.tolist() == [1, 1]
    assert state.done.tolist() == [False, False]


@pytest.mark.parametrize(
    ("refinements", "expected"),
    [
        (1, [[6, 5, 1, 0]]),
        (3, [[9, 7, 1, 0], [6, 5, 1, 0], [3, 2, 0, 0]]),
        (4, [[9, 8, 1, 0], [7, 6, 1, 0], [4, 4, 0, 0], [2, 2, 0, 0]]),
    ],
)
def test_schedule_by_hand(refinements: int, expected: list[list[int]]) -> None:
    """T (P - t) / P, rounded down, for T = 12, 10, 2 and 0."""
    lengths = torch.tensor([12, 10, 2, 0])
    found = [tokens_to_mask(lengths, t, refinements).tolist() for t in range(1, refinements + 1)]
    assert found == expected


def test_least_confident_by_hand() -> None:
    scores = torch.tensor([[-1.0, -3.0, -2.0, -4.0], [-1.0, -3.0, -2.0, -4.0], [-1.0, -3.0, -2.0, -4.0]])
    chosen = least_confident(scores, torch.tensor([4, 3, 2]), torch.tensor([2, 2, 0]))
    assert chosen.long().tolist() == [[0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_ties_go_to_the_left() -> None:
    scores = torch.tensor([[-2.0, -1.0, -2.0, -2.0, -1.0, 0.0]])
    for count, expected in enumerate([[], [0], [0, 2], [0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]]):
        chosen = least_confident(scores, torch.tensor([5]), torch.tensor([count]))
        assert chosen[0].nonzero().flatten().tolist() == expected
    wide = least_confident(torch.zeros(1, 300), torch.tensor([300]), torch.tensor([120]))  # beyond short sorts
    assert wide[0].tolist() == [True] * 120 + [False] * 180


def test_refined_by_hand() -> None:
    after = refined(make_state([False, False, False]), HIDDEN, TOKENS, SCORES, KEPT)
    assert after.tokens.tolist() == [[5, 6, 2], [8, 9, 1], [4, 4, 4]]
    assert after.scores.tolist() == [[-1.0, -0.25, -0.5], [-0.75, -5.0, 0.0], [-0.125, -7.0, -8.0]]
    assert after.lengths.tolist() == [3, 2, 3]
    assert after.passes.tolist() == [3, 4, 3]
    assert after.done.tolist() == [False, True, True]


def test_done_sentences_stay_as_they_are() -> None:
    state = make_state([True, True, False])
    after = refined(state, HIDDEN, TOKENS, SCORES, KEPT)
    assert after.tokens.tolist() == state.tokens.tolist()
    assert after.scores.tolist() == [*state.scores[:2].tolist(), [-0.125, -7.0, -8.0]]
    assert after.passes.tolist() == [2, 3, 3]
    assert after.done.tolist() == [True, True, True]


def test_force_never_stops() -> None:
    after = refined(make_state([False, False, False]), HIDDEN, TOKENS, SCORES, None)
    assert after.tokens.tolist() == [[5, 6, 2], [8, 9, 1], [4, 4, 4]]
    assert after.done.tolist() == [False, False, False]


def test_nothing_is_changed_in_place() -> None:
    for kept in (None, KEPT):
        state, before = make_state([True, False, False]), make_state([True, False, False])
        hidden, tokens, scores = HIDDEN.clone(), TOKENS.clone(), SCORES.clone()
        refined(state, hidden, tokens, scores, kept)
        least_confident(state.scores, state.lengths, tokens_to_mask(state.lengths, 1, 2))
        for ours, original in zip((*state, hidden, tokens, scores), (*before, HIDDEN, TOKENS, SCORES), strict=True):
            assert torch.equal(ours, original)


def test_a_sentence_is_done_once_its_text_stays() -> None:
    """Blank 0: 5 0 6 6 says what 5 5 0 6 says; 5 0 5 does not say what 0 5 5 says; all blank stays empty."""
    tokens = torch.tensor([[5, 0, 6, 6], [5, 0, 5, 0], [0, 0, 0, 0], [7, 7, 7, 1]])
    lengths = torch.tensor([4, 4, 4, 3])
    state = first_state(tokens, torch.zeros(4, 4), lengths)
    new = torch.tensor([[5, 5, 0, 6], [0, 5, 5, 0], [0, 0, 0, 0], [0, 7, 0, 9]])
    everywhere = torch.arange(4) < lengths.unsqueeze(1)
    after = refined(state, everywhere, new, torch.ones(4, 4), partial(kept_by_ctc, blank=0))
    assert after.done.tolist() == [True, False, True, True]
    assert after.tokens.tolist() == [[5, 5, 0, 6], [0, 5, 5, 0], [0, 0, 0, 0], [0, 7, 0, 1]]
