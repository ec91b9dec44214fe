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
    """The meaning of the rows of an embedding table.

    Attributes:
        specials: rows of the special symbols, by role.
        rows: row of each text, special symbols' own texts included.
        normalize: how the vocabulary's tokenizer rewrites a text, such as in lower case.
    """

    specials: tuple[int, ...]
    rows: Rows
    normalize: Callable[[str], str]

    @classmethod
    def of_wordpiece(cls, tokenizer: WordPiece) -> "SymbolTable":
        """The embedding table of the BERT with this tokenizer."""
        rows = {tokenizer.surface(symbol): i for i, symbol in enumerate(tokenizer.symbols)}
        specials = tuple(tokenizer.symbols.index(symbol) for symbol in BERT_SPECIALS)
        return cls(specials, rows, tokenizer.normalize)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "SymbolTable":
        """The embedding table of a checkpoint with this ``symbol_state``.

        Without any capital letter in the table, texts are also looked up in lower case and without accents.
        """
        rows: dict[Surface, int] = {}
        for i, spelling in enumerate(state["surfaces"]):
            rows.setdefault(Surface(spelling.removeprefix(WORD_START), spelling.startswith(WORD_START)), i)
        specials = tuple(int(row) for row in state["specials"])
        ordinary = [surface.text for surface, row in rows.items() if row not in specials]
        uncased = all(text == text.lower() for text in ordinary)
        return cls(specials, rows, BertNormalizer(lowercase=True).normalize_str if uncased else str)


def symbol_state(dictionary: BnbDictionary) -> dict[str, Any]:
    """Meaning of a dictionary's V symbols, by which a checkpoint can start a model with another dictionary.

    ``surfaces`` are V texts, with SentencePiece's mark before those that begin a word; ``specials`` are rows by role.
    """
    surfaces = [dictionary.surface(symbol) for symbol in dictionary.symbols]
    return {
        "surfaces": [WORD_START * word_initial + text for text, word_initial in surfaces],
        "specials": [dictionary.index(symbol) for symbol in dictionary.specials()],
    }


def match_rows(dictionary: BnbDictionary, table: SymbolTable) -> Tensor:
    """Embedding row of each of a dictionary's V symbols, V int64, -1 where the table has no such symbol.

    Special symbols match by their role, others by their text: "the" in WordPiece is SentencePiece's word-initial "the",
    "##ing" its piece "ing" inside a word. A symbol that is not found is looked up again in the table's normalisation
    (an uncased BERT reads "The" as "the").
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
    """Symbols that may stand for a text.

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
