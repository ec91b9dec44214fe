"""Matching the symbols of a dictionary with the rows of another model's embedding table, by text."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from tokenizers.normalizers import BertNormalizer
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..data.subword import BERT_SPECIALS, WORD_START, Specials, Surface
from ..data.wordpiece import INSIDE, WordPiece

Rows = Mapping[Surface, int]


class SymbolTable(NamedTuple):
    """What the rows of an embedding table stand for.

    Attributes:
        specials: rows of the special symbols, by role.
        rows: row of each text, special symbols' own texts included.
        normalize: how the vocabulary's tokenizer writes a text that it reads (an uncased one in small letters).
    """

    specials: tuple[int, ...]
    rows: Rows
    normalize: Callable[[str], str]

    @classmethod
    def of_wordpiece(cls, tokenizer: WordPiece) -> "SymbolTable":
        """Describe the embedding table of a BERT.

        Args:
            tokenizer: the BERT's.

        Returns:
            The table.
        """
        rows = {tokenizer.surface(symbol): i for i, symbol in enumerate(tokenizer.symbols)}
        specials = tuple(tokenizer.symbols.index(symbol) for symbol in BERT_SPECIALS)
        return cls(specials, rows, tokenizer.normalize)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "SymbolTable":
        """Describe the embedding table of a checkpoint.

        Args:
            state: what ``symbol_state`` returned for its dictionary.

        Returns:
            The table; texts are looked up in small letters and without accents, too, if it has nothing else.
        """
        rows: dict[Surface, int] = {}
        for i, spelling in enumerate(state["surfaces"]):
            rows.setdefault(Surface(spelling.removeprefix(WORD_START), spelling.startswith(WORD_START)), i)
        specials = tuple(int(row) for row in state["specials"])
        ordinary = [surface.text for surface, row in rows.items() if row not in specials]
        uncased = all(text == text.lower() for text in ordinary)
        return cls(specials, rows, BertNormalizer(lowercase=True).normalize_str if uncased else str)


def symbol_state(dictionary: BnbDictionary) -> dict[str, Any]:
    """Note what the symbols of a dictionary stand for, so that a checkpoint can start a model with another dictionary.

    Args:
        dictionary: V symbols.

    Returns:
        ``surfaces``, V texts, those that begin a word with SentencePiece's mark in front; ``specials``, rows by role.
    """
    surfaces = [dictionary.surface(symbol) for symbol in dictionary.symbols]
    return {
        "surfaces": [WORD_START * word_initial + text for text, word_initial in surfaces],
        "specials": [dictionary.index(symbol) for symbol in dictionary.specials()],
    }


def match_rows(dictionary: BnbDictionary, table: SymbolTable) -> Tensor:
    """Find the embedding row for every symbol of a dictionary.

    Special symbols match by their role. Others match by what they stand for: "the" in WordPiece is SentencePiece's
    word-initial "the", "##ing" its piece "ing" inside a word. A symbol that is not found as it is written is looked
    up as the table's own normalisation writes it (an uncased BERT reads "The" as "the").

    Args:
        dictionary: V symbols.
        table: of the other model.

    Returns:
        V row numbers, int64, -1 where the table has no such symbol.
    """
    special: dict[str, int] = dict(zip(Specials(*dictionary.specials()), table.specials, strict=True))

    def row(symbol: str) -> int:
        if symbol in special:
            return special[symbol]
        surface = dictionary.surface(symbol)
        for spelling in (surface, Surface(table.normalize(surface.text), surface.word_initial)):
            for candidate in _readings(spelling):
                if candidate in table.rows:
                    return table.rows[candidate]
        return -1

    return torch.tensor([row(symbol) for symbol in dictionary.symbols])


def _readings(surface: Surface) -> tuple[Surface, ...]:
    """List what may stand for a text.

    WordPiece splits off punctuation, which then begins a word of its own; a plain dictionary may hold WordPieces.
    """
    text, word_initial = surface
    if not text:
        return ()
    if word_initial and text.startswith(INSIDE):
        return (surface, Surface(text.removeprefix(INSIDE), False))
    if word_initial or text.isalnum():
        return (surface,)
    return (surface, Surface(text, True))
