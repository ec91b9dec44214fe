"""Pretraining strategies: from a text to a source to read and a target to write.

Ids are without [CLS] and [SEP], one dimension. All randomness comes from the given generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from .dictionary import BnbDictionary

CONTINUED = 4  # tokens: the shortest text of which 20 to 30% come to at least one token


class NoisedText(NamedTuple):
    """A source and its target, ids of one dimension each."""

    source: Tensor
    target: Tensor


Noise = Callable[[Tensor, Generator], NoisedText]


class Masking(NamedTuple):
    """BERT's treatment of the tokens to mask (Devlin et al. 2019, section 3.1).

    Attributes:
        share: share of tokens that are chosen.
        unchanged: share of the chosen that stay as they are.
        replaced: share of the chosen that become random symbols; the others become [MASK].
        mask: id of [MASK].
        symbols: ids to draw random symbols from.
    """

    share: float
    unchanged: float
    replaced: float
    mask: int
    symbols: Tensor

    @classmethod
    def of(cls, dictionary: BnbDictionary, share: float, unchanged: float, replaced: float) -> "Masking":
        """Masking that draws random symbols from all of a dictionary but its special symbols."""
        special = {dictionary.index(symbol) for symbol in dictionary.specials()}
        symbols = torch.tensor([i for i in range(len(dictionary)) if i not in special])
        return cls(share, unchanged, replaced, dictionary.mask(), symbols)


def autoencoded(tokens: Tensor, random: Generator) -> NoisedText:
    """Read the text, write the text (``ae``)."""
    return NoisedText(tokens, tokens)


def masked(tokens: Tensor, random: Generator, masking: Masking) -> NoisedText:
    """Read the text with some tokens masked, write all of it (``mlm``); N ids each."""
    chosen = _choose(len(tokens), masking.share, random)
    fate = random.random(len(chosen))
    drawn = masking.symbols[torch.from_numpy(random.integers(len(masking.symbols), size=len(chosen)))]
    replaced = torch.from_numpy(fate < masking.replaced)
    unchanged = torch.from_numpy(fate >= 1 - masking.unchanged)
    source = tokens.clone()
    where = torch.from_numpy(chosen)
    becomes = torch.where(replaced, drawn.to(tokens), masking.mask)
    source[where] = torch.where(unchanged, tokens[where], becomes.to(tokens))
    return NoisedText(source, tokens)


def permuted(tokens: Tensor, random: Generator, share: float) -> NoisedText:
    """Read the text with a ``share`` of its tokens in another order, write the right order (``plm``); N ids each."""
    chosen = _choose(len(tokens), share, random)
    source = tokens.clone()
    source[torch.from_numpy(chosen)] = tokens[torch.from_numpy(random.permutation(chosen))]
    return NoisedText(source, tokens)


def continued(tokens: Tensor, random: Generator, least: float, most: float) -> NoisedText:
    """Read the beginning of the text, write its end (``clm``): N - M and M ids, N at least 2.

    M is drawn between ``least`` N and ``most`` N, and rounded; neither part is empty.
    """
    wanted = round(float(random.uniform(least, most)) * len(tokens))
    start = len(tokens) - min(max(wanted, 1), len(tokens) - 1)
    return NoisedText(tokens[:start], tokens[start:])


def _choose(count: int, share: float, random: Generator) -> NDArray[np.int64]:
    """Distinct positions, ascending; on average there are ``share`` times ``count``."""
    number = int(share * count + random.random())
    return np.sort(random.permutation(count)[:number])
