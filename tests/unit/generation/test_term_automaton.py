"""The automaton against a search for each term in each beginning of a text."""

import itertools
import random
import re

import pytest

from bnb_fairseq.generation.term_automaton import BORDER, Term, build_automaton

LETTERS = " ab-"  # classes 1 to 4
OUTSIDE = [False, True, False, False, True]
TERMS = ["a", "ab", "aba", "b", "ba b", "a-b", "abab", "a b a", "-a", "b-"]


def classes(text: str) -> list[int]:
    return [1 + LETTERS.index(character) for character in text]


@pytest.mark.parametrize("seed", range(20))
def test_against_substrings(seed: int) -> None:
    drawn = random.Random(seed)
    chosen = drawn.sample(TERMS, drawn.randint(1, 5))
    inflected = [drawn.random() < 0.5 for _ in chosen]
    automaton = build_automaton(
        [Term(classes(term), star) for term, star in zip(chosen, inflected, strict=True)], OUTSIDE
    )
    for letters in itertools.product(LETTERS, repeat=6):
        text, node = "".join(letters), BORDER
        for character in classes(text):
            node = int(automaton.following[node, character])
        for number, (term, star) in enumerate(zip(chosen, inflected, strict=True)):
            ends = re.search(rf"(?<!\w){re.escape(term)}\Z", text) is not None
            assert automaton.whole[node, number] == (ends and not star)
            assert automaton.found[node, number] == (ends and star)
            begun = max(
                (
                    length
                    for length in range(1, len(term) + (not star))
                    if re.search(rf"(?<!\w){re.escape(term[:length])}\Z", text)
                ),
                default=0,
            )
            assert automaton.shares[node, number] == pytest.approx(begun / len(term))


def test_no_character_stays() -> None:
    automaton = build_automaton([Term(classes("ab"), False)], OUTSIDE)
    assert automaton.following[:, 0].tolist() == list(range(len(automaton.following)))


def test_no_terms() -> None:
    automaton = build_automaton([], OUTSIDE)
    assert automaton.following.tolist() == [[0, 1, 0, 0, 1], [1, 1, 0, 0, 1]]
    assert automaton.shares.shape == (2, 0)
