"""A tiny vocabulary, its tokenizer, and the bonus of a text found with regular expressions."""

import re
from collections.abc import Mapping, Sequence

from bnb_fairseq.generation.glossary import Glossary, SpeltVocabulary

# 0 is a symbol that is not printed; the others make words of a and b, and a bracket.
SPELLINGS = ["", " a", " b", "a", "b", " ab", " ba", "ab", "(", " ", "-", " abab"]


def encode(text: str) -> list[int]:
    """Split each word into the longest symbols, from left to right."""
    written, ids = "".join(f" {word}" for word in text.split()), []
    while written:
        fitting = [i for i, spelling in enumerate(SPELLINGS) if spelling and written.startswith(spelling)]
        best = max(fitting, key=lambda i: len(SPELLINGS[i]), default=0)
        ids.append(best)
        written = written[max(1, len(SPELLINGS[best])) :]
    return ids


def make_glossary(terms: Mapping[str, str]) -> Glossary:
    return Glossary(terms, encode, spelt(SPELLINGS))


def spelt(spellings: Sequence[str]) -> SpeltVocabulary:
    """Take the spellings for the symbols."""
    return SpeltVocabulary(spellings, [""], lambda symbol: (symbol.removeprefix(" "), symbol.startswith(" ")))


def occurrences(text: str, spelling: str, inflected: bool) -> int:
    """Count a term at the borders of words; overlapping ones count, too."""
    end = "" if inflected else r"(?!\w)"
    return len(re.findall(rf"(?=(?<!\w){re.escape(spelling)}{end})", text))


def bonus_of(glossary: Glossary, asked: Mapping[int, int], bonus: float, tokens: tuple[int, ...]) -> float:
    """Sum up the bonus of a finished text."""
    text = "".join(SPELLINGS[token] for token in tokens)
    total = 0.0
    for number, wanted in asked.items():
        term = glossary.targets[number]
        found = occurrences(text, term.spelling, term.inflected)
        total += bonus * len(term.symbols) * min(found, wanted)
    return total
