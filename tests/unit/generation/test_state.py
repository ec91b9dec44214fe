"""The functions that make one decoding state from another, with numbers worked out by hand."""

import numpy as np
import pytest

from bnb_fairseq.generation.collapse import text_of
from bnb_fairseq.generation.ctc_beam import Array
from bnb_fairseq.generation.state import (
    DecodingState,
    first_state,
    least_confident,
    refined,
    refinements,
    tokens_to_mask,
)

KEPT = text_of(1, merges=False)


def make_state(done: list[bool]) -> DecodingState:
    return DecodingState(
        tokens=np.array([[5, 6, 7], [8, 9, 1], [4, 4, 4]]),
        scores=np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0], [-6.0, -7.0, -8.0]]),
        lengths=np.array([3, 2, 3]),
        passes=np.array([2, 3, 2]),
        done=np.array(done),
    )


HIDDEN = np.array([[False, True, True], [True, False, False], [True, False, False]])
# The first sentence changes, the second and the third predict what was there; elsewhere values that must not be read.
TOKENS = np.array([[99, 6, 2], [8, 99, 99], [4, 99, 99]])
SCORES = np.array([[9.0, -0.25, -0.5], [-0.75, 9.0, 9.0], [-0.125, 9.0, 9.0]])


def test_first_state() -> None:
    tokens, scores, lengths = np.array([[5, 6], [7, 1]]), np.zeros((2, 2)), np.array([2, 1])
    state = first_state(tokens, scores, lengths)
    assert state.tokens is tokens and state.scores is scores and state.lengths is lengths
    assert state.passes.tolist() == [1, 1]
    assert state.done.tolist() == [False, False]


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        (1, [[6, 5, 1, 0]]),
        (3, [[9, 7, 1, 0], [6, 5, 1, 0], [3, 2, 0, 0]]),
        (4, [[9, 8, 1, 0], [7, 6, 1, 0], [4, 4, 0, 0], [2, 2, 0, 0]]),
    ],
)
def test_schedule_by_hand(passes: int, expected: list[list[int]]) -> None:
    """T (P - t) / P, rounded down, for T = 12, 10, 2 and 0."""
    lengths = np.array([12, 10, 2, 0])
    found = [tokens_to_mask(lengths, t, passes).tolist() for t in range(1, passes + 1)]
    assert found == expected


def test_least_confident_by_hand() -> None:
    scores = np.array([[-1.0, -3.0, -2.0, -4.0], [-1.0, -3.0, -2.0, -4.0], [-1.0, -3.0, -2.0, -4.0]])
    chosen = least_confident(scores, np.array([4, 3, 2]), np.array([2, 2, 0]))
    assert chosen.astype(int).tolist() == [[0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_ties_go_to_the_left() -> None:
    scores = np.array([[-2.0, -1.0, -2.0, -2.0, -1.0, 0.0]])
    for count, expected in enumerate([[], [0], [0, 2], [0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]]):
        chosen = least_confident(scores, np.array([5]), np.array([count]))
        assert np.flatnonzero(chosen[0]).tolist() == expected
    wide = least_confident(np.zeros((1, 300)), np.array([300]), np.array([120]))  # beyond short sorts
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
        hidden, tokens, scores = HIDDEN.copy(), TOKENS.copy(), SCORES.copy()
        refined(state, hidden, tokens, scores, kept)
        least_confident(state.scores, state.lengths, tokens_to_mask(state.lengths, 1, 2))
        for ours, original in zip((*state, hidden, tokens, scores), (*before, HIDDEN, TOKENS, SCORES), strict=True):
            assert np.array_equal(ours, original)


def test_a_sentence_is_done_once_its_text_stays() -> None:
    """Blank 0: 5 0 6 6 says what 5 5 0 6 says; 5 0 5 does not say what 0 5 5 says; all blank stays empty."""
    tokens = np.array([[5, 0, 6, 6], [5, 0, 5, 0], [0, 0, 0, 0], [7, 7, 7, 1]])
    lengths = np.array([4, 4, 4, 3])
    state = first_state(tokens, np.zeros((4, 4)), lengths)
    new = np.array([[5, 5, 0, 6], [0, 5, 5, 0], [0, 0, 0, 0], [0, 7, 0, 9]])
    everywhere = np.arange(4) < lengths[:, None]
    after = refined(state, everywhere, new, np.ones((4, 4)), text_of(0, merges=True))
    assert after.done.tolist() == [True, False, True, True]
    assert after.tokens.tolist() == [[5, 5, 0, 6], [0, 5, 5, 0], [0, 0, 0, 0], [0, 7, 0, 1]]


def test_refinements_by_hand() -> None:
    """Each pass reads [MASK], 16, at the worst tokens; a sentence that is done is not changed, nor counted."""
    tokens, scores = np.array([[5, 6, 7, 8], [4, 9, 0, 0]]), np.array([[-1.0, -3, -2, -4], [-1, -2, 0, 0]])
    state = first_state(tokens, scores, np.array([4, 2]))
    read: list[Array] = []

    def predict(hidden: Array, shown: Array) -> tuple[Array, Array]:
        assert np.array_equal(hidden, shown == 16)
        read.append(shown)
        word = 10 if len(read) < 3 else 11
        return np.array([[word] * 4, [4, 9, 9, 9]]), np.full((2, 4), -0.5)

    states = list(refinements(state, 3, 16, KEPT, predict))
    assert [shown[0].tolist() for shown in read] == [[5, 16, 16, 16], [16, 16, 10, 10], [16, 10, 10, 10]]
    assert [shown[1].tolist() for shown in read] == [[4, 16, 0, 0], [16, 9, 0, 0], [4, 9, 0, 0]]
    assert [each.tokens[0].tolist() for each in states] == [[5, 10, 10, 10], [10, 10, 10, 10], [11, 10, 10, 10]]
    assert [each.tokens[1].tolist() for each in states] == [[4, 9, 0, 0]] * 3
    assert [each.passes.tolist() for each in states] == [[2, 2], [3, 2], [4, 2]]
    assert [each.done.tolist() for each in states] == [[False, True]] * 3
    assert list(refinements(state._replace(done=np.array([True, True])), 3, 16, KEPT, predict)) == []
    assert list(refinements(state, 0, 16, KEPT, predict)) == []
