"""Texts that are longer than a model reads: split at sentence ends, translated sentence by sentence, and joined.

    pieces = split(text, count_tokens, longest, "en")
    translation = join(pieces, [translate(piece.text) for piece in pieces])

sentencex finds the sentence ends: it knows abbreviations and the punctuation of many languages.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import sentencex

UNUSUAL = re.compile(
    r"[^\S\n ]|[\ud800-\udfff]"
)  # long white space makes sentencex 1.0 panic; surrogates have no UTF-8
WIDE = ("W", "F")  # East Asian widths of the scripts that put no space between sentences


class TooLongError(ValueError):
    """A text that cannot be split into pieces that fit."""


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: one sentence, without white space at its ends; or the whole text, unchanged.
        space: the white space between the piece before and this one; empty for the first.
        first_word: index in the whole text of the word that the piece begins in. Words are separated by white space.
    """

    text: str
    space: str = ""
    first_word: int = 0


def split(text: str, count_tokens: Callable[[str], int], longest: int, language: str = "en") -> list[Piece]:
    """Split a text that is too long into its sentences.

    Args:
        text: any text.
        count_tokens: the number of tokens of a text, counted as ``longest`` is.
        longest: tokens that the model reads.
        language: ISO code of the text's language; an unknown one is split as English.

    Returns:
        The whole text as one piece if it fits; else each sentence as a piece of its own, because models are trained on
        single sentences. White space that does not fit has no piece.

    Raises:
        TooLongError: if a sentence does not fit, with its number of tokens and the limit.
    """
    if count_tokens(text) <= longest:
        return [Piece(text)]
    pieces: list[Piece] = []
    begin = end = words = 0  # of a sentence with the white space around it; of the piece before; words up to there
    for sentence in sentencex.segment(language, UNUSUAL.sub(" ", text)):
        original = text[begin : begin + len(sentence)]
        if piece := original.strip():
            start = begin + original.index(piece)
            within = bool(pieces) and start == end  # a word that began in the piece before
            pieces.append(Piece(piece, text[end:start] if pieces else "", words - within))
            end = start + len(piece)
            words += len(piece.split()) - within
        begin += len(sentence)
    tokens = max((count_tokens(piece.text) for piece in pieces), default=0)
    if tokens > longest:
        what = "a sentence of the text" if len(pieces) > 1 else "the text"
        raise TooLongError(f"{what} has {tokens:,} tokens, but the model reads at most {longest:,}")
    return pieces


def join(pieces: Sequence[Piece], translations: Sequence[str]) -> str:
    """Join the translations of pieces with the white space that stood between the pieces.

    Args:
        pieces: what ``split`` returned.
        translations: one for each piece; an empty one leaves no gap.

    Returns:
        The text. Where no white space stood, as in Chinese, there is one space, unless the translation before ends in a
        wide character.
    """
    joined = ""
    for piece, translation in zip(pieces, translations, strict=True):
        if joined and translation:
            wide = unicodedata.east_asian_width(joined[-1]) in WIDE
            joined += piece.space or ("" if wide else " ")
        joined += translation
    return joined
