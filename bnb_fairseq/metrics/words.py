"""Texts as lower-case words of every script, for metrics that count words."""

import unicodedata

import regex

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def split_words(text: str) -> list[str]:
    """Split a text into words: runs of letters, their marks and digits; what stands between them does not count.

    Args:
        text: raw text.

    Returns:
        Its words in lower case, letters and marks composed.
    """
    words: list[str] = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return words
