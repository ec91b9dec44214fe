"""Finding terms in a text character by character (Aho and Corasick 1975), at the borders of words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A text is at ROOT inside a word that cannot become a term, at BORDER in front of a word.
ROOT, BORDER = 0, 1


class Term(NamedTuple):
    """Classes of a term's characters, and whether its last word may be longer."""

    classes: Sequence[int]
    inflected: bool


class TermAutomaton(NamedTuple):
    """Nodes by which a text is read; N nodes, C classes of characters, E terms.

    Attributes:
        following: N x C, int64, the node behind each character; class 0 is no character and stays.
        shares: N x E, float32, which part of each term the text ends in, at a node where the term is not found yet.
        whole: N x E, True where the text ends in a term that is found if the word ends here.
        found: N x E, True where the text ends in the beginning that an inflected term asks for.
    """

    following: NDArray[np.int64]
    shares: NDArray[np.float32]
    whole: NDArray[np.bool_]
    found: NDArray[np.bool_]


def build_automaton(terms: Sequence[Term], outside: Sequence[bool]) -> TermAutomaton:
    """Build the automaton of some terms.

    Every term begins at the border of a word. A term that is not inflected ends at one, too: it is found when the next
    character is read, or at the end of the text.

    Args:
        terms: E terms, none empty.
        outside: C, of each class of characters whether they stand outside words; class 0 is no character.

    Returns:
        The automaton.
    """
    children: list[dict[int, int]] = [{}, {}]  # of ROOT, which has none, and BORDER
    paths = []
    for term in terms:
        path = [BORDER]
        for character in term.classes:
            node = children[path[-1]].setdefault(character, len(children))
            if node == len(children):
                children.append({})
            path.append(node)
        paths.append(path)
    nodes, count = len(children), len(terms)
    shares = np.zeros((nodes, count), np.float32)
    whole, found = np.zeros((nodes, count), np.bool_), np.zeros((nodes, count), np.bool_)
    for number, (term, path) in enumerate(zip(terms, paths, strict=True)):
        shares[path, number] = np.arange(len(path)) / len(term.classes)
        if term.inflected:
            shares[path[-1], number] = 0.0  # what is found is counted, and no longer hoped for
        (found if term.inflected else whole)[path[-1], number] = True
    following = np.zeros((nodes, len(outside)), np.int64)
    following[ROOT] = np.where(outside, BORDER, ROOT)
    order = [(BORDER, ROOT)]  # each node behind those that are nearer to the border, with its longest proper suffix
    for node, suffix in order:
        shares[node] = np.maximum(shares[node], shares[suffix])
        whole[node] |= whole[suffix]
        found[node] |= found[suffix]
        following[node] = following[suffix]
        order += [(child, int(following[suffix, character])) for character, child in children[node].items()]
        for character, child in children[node].items():
            following[node, character] = child
    following[:, 0] = np.arange(nodes)
    return TermAutomaton(following, shares, whole, found)
