"""Matching the symbols of a dictionary with the rows of a BERT's embedding table, by text."""

import torch
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..data.subword import BERT_SPECIALS, Surface, WordPiece


def match_rows(dictionary: BnbDictionary, bert: WordPiece) -> Tensor:
    """Find BERT's embedding row for every symbol of a dictionary.

    Special symbols match by their role. Others match by what they stand for: "the" in WordPiece is SentencePiece's
    word-initial "the", "##ing" its piece "ing" inside a word. A symbol that is not found as it is written is looked
    up as the BERT's own normalisation writes it (an uncased BERT reads "The" as "the").

    Args:
        dictionary: V symbols.
        bert: the BERT's tokenizer.

    Returns:
        V row numbers, int64, -1 where BERT has no such symbol.
    """
    rows = {symbol: i for i, symbol in enumerate(bert.symbols)}
    special = dict(zip(dictionary.specials(), BERT_SPECIALS, strict=True))

    def row(symbol: str) -> int:
        if symbol in special:
            return rows[special[symbol]]
        surface = dictionary.surface(symbol)
        for spelling in (surface, Surface(bert.normalize(surface.text), surface.word_initial)):
            for candidate in _wordpieces(spelling):
                if candidate in rows:
                    return rows[candidate]
        return -1

    return torch.tensor([row(symbol) for symbol in dictionary.symbols])


def _wordpieces(surface: Surface) -> tuple[str, ...]:
    """List how WordPiece may write a symbol; it splits off punctuation, which then begins a word of its own."""
    if not surface.text:
        return ()
    if surface.word_initial:
        return (surface.text,)
    inside = f"##{surface.text}"
    return (inside,) if surface.text.isalnum() else (inside, surface.text)
