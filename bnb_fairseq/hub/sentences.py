"""Texts given in Python, checked before anything is translated."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..data.dictionary import BnbDictionary

SHOWN = 60  # characters of a text in a message


def listed(sentences: Iterable[Any]) -> list[str]:
    """Check that there is a text for each result.

    Args:
        sentences: the texts, any iterable but a string.

    Returns:
        The texts, white space at both ends removed.

    Raises:
        TypeError: if there is something else than texts, with its index.
        ValueError: if a text is no single line, or no valid Unicode, with its index.
    """
    if isinstance(sentences, bytes) or not isinstance(sentences, Iterable):
        raise TypeError(f"sentences must be a string or a list of strings, but is {type(sentences).__name__}")
    texts = list(sentences)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"sentences[{i}] must be a string, but is {type(text).__name__}")
    lines = [text.strip() for text in texts]
    for i, line in enumerate(lines):
        if fault := _find_fault(line):
            raise ValueError(f"sentences[{i}] {fault}: {shown(line)}")
    return lines


def _find_fault(line: str) -> str | None:
    """Tell why a text cannot be one line of ``fairseq-interactive``; None if it can."""
    for character, name in (("\n", "newline"), ("\r", "carriage return")):
        if character in line:
            return f"must be one line, but has a {name} at character {line.index(character)}"
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"must be valid Unicode, but has a lone surrogate at character {error.start}"
    return None


def check_tokens(tokens: Iterable[Any], dictionary: BnbDictionary) -> list[Tensor]:
    """Check that sentences are as ``encode`` returns them.

    Args:
        tokens: the sentences.
        dictionary: the source dictionary.

    Returns:
        The sentences, int64, on the CPU.

    Raises:
        ValueError: if one is something else, with its index.
    """
    sentences = []
    for i, sentence in enumerate(tokens):
        usable = torch.is_tensor(sentence) and sentence.dim() == 1 and not sentence.is_floating_point()
        if not usable or not len(sentence) or int(sentence[-1]) != dictionary.eos():
            rule = f"a tensor of ids that ends in {dictionary.eos()}, as encode returns it"
            raise ValueError(f"tokenized_sentences[{i}] must be {rule}, but is {shown(str(sentence))}")
        lowest, highest = int(sentence.min()), int(sentence.max())
        if lowest < 0 or highest >= len(dictionary):
            raise ValueError(
                f"tokenized_sentences[{i}] must have ids from 0 to {len(dictionary) - 1}, the source dictionary's, but "
                f"has {lowest if lowest < 0 else highest}"
            )
        sentences.append(sentence.long().cpu())
    return sentences


def shown(text: str) -> str:
    """Return the beginning of a text for a message."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
