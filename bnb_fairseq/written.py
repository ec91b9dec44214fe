"""The canvas of a text after each pass, as symbols."""

import math
from typing import TYPE_CHECKING, NamedTuple

from .folder.vocabulary import Vocabulary

if TYPE_CHECKING:
    from .engines.interface import CanvasPass


class Slot(NamedTuple):
    """One position of a canvas after a pass.

    Attributes:
        symbol: of the target vocabulary; None for a blank.
        probability: of the symbol, when it was last predicted.
        again: True: the pass hid the position and predicted it again; never in pass 0.
        kept: True: the symbol is part of the text: no blank, no special symbol, not merged with its left neighbour.
    """

    symbol: str | None
    probability: float
    again: bool
    kept: bool


class Pass(NamedTuple):
    """The canvas after one pass, and its text, collapsed and detokenised."""

    text: str
    slots: list[Slot]


class Written(NamedTuple):
    """The passes of a sentence.

    Attributes:
        source: the sentence.
        passes: pass 0 first.
    """

    source: str
    passes: list[Pass]

    @property
    def settled(self) -> int:
        """The last pass that changed the text; 0 if none did after pass 0."""
        texts = [made.text for made in self.passes]
        return max((i for i in range(1, len(texts)) if texts[i] != texts[i - 1]), default=0)


def as_symbols(canvas: "CanvasPass", target: Vocabulary) -> Pass:
    """Turn a canvas of ids into symbols and text."""
    silent = {None, target.bos(), target.pad(), target.eos(), target.mask()}
    tokens, kept = canvas.tokens, [kept and i not in silent for i, kept in zip(canvas.tokens, canvas.kept, strict=True)]
    symbols = [None if i is None else target.symbols[i] for i in tokens]
    probabilities = [math.exp(min(score, 0.0)) for score in canvas.scores]
    slots = [Slot(*parts) for parts in zip(symbols, probabilities, canvas.again, kept, strict=True)]
    return Pass(target.text([i for i, part in zip(tokens, kept, strict=True) if part and i is not None]), slots)
