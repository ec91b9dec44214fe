"""Choosing the terms of a glossary from a parallel text: nouns that its translators render alike."""

import re
from collections import Counter
from collections.abc import Sequence

FEWEST = 20  # sentences of the training part that have the word
SHORTEST = 4  # letters of a translation
SHARE = 0.5  # of these sentences whose translation has the rendering


def words(text: str) -> list[str]:
    """Return the words of letters in a text."""
    return re.findall(r"[^\W\d_]+", text)


def consistent_terms(sources: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """Find words with a rendering that most of their sentences have.

    Word and rendering are each other's best match by the Dice coefficient over sentences. The rendering is a German
    noun, and a star behind it lets it be inflected. Words that are the same in both languages do not count.

    Args:
        sources: English sentences.
        targets: their translations.

    Returns:
        Word in small letters -> rendering, the most consistent first.
    """
    left = [{word.lower() for word in words(source)} for source in sources]
    right = [set(words(target)[1:]) for target in targets]  # a verb in the first place has a capital, too
    english = Counter(word for sentence in left for word in sentence)
    german = Counter(word for sentence in right for word in sentence)
    nouns = {word for word in german if _is_noun(word, german)}
    together = Counter(
        (word, noun)
        for sentence, translation in zip(left, right, strict=True)
        for word in sentence
        for noun in translation & nouns
        if noun.lower() != word
    )
    dice = {pair: count / (english[pair[0]] + german[pair[1]]) for pair, count in together.items()}
    of_word, of_noun = _best(dice, 0), _best(dice, 1)
    mutual = [(word, noun) for word, noun in of_word.values() if of_noun[noun] == (word, noun)]
    frequent = {word: noun for word, noun in mutual if english[word] >= FEWEST}
    rendered: Counter[str] = Counter()
    for sentence, translation in zip(left, right, strict=True):
        for word in sentence & frequent.keys():
            rendered[word] += any(other.startswith(frequent[word]) for other in translation)
    shares = {word: rendered[word] / english[word] for word in frequent}
    ranked = sorted(frequent, key=lambda word: (-shares[word], word))
    return {word: f"{frequent[word]}*" for word in ranked if shares[word] >= SHARE}


def _best(dice: dict[tuple[str, str], float], side: int) -> dict[str, tuple[str, str]]:
    """Find the best pair of each word of one side, the first in the alphabet of equal ones."""
    found: dict[str, tuple[str, str]] = {}
    for pair in sorted(dice, key=lambda pair: (-dice[pair], pair)):
        found.setdefault(pair[side], pair)
    return found


def _is_noun(word: str, counts: Counter[str]) -> bool:
    return len(word) >= SHORTEST and word[0].isupper() and word[1:].islower() and counts[word] > counts[word.lower()]


def terms_of(terms: dict[str, str], sources: Sequence[str], most: int) -> dict[str, str]:
    """Keep the first terms that a text has.

    Args:
        terms: source term -> target term.
        sources: sentences.
        most: how many to keep.

    Returns:
        At most that many.
    """
    there = {word.lower() for source in sources for word in words(source)}
    return dict([pair for pair in terms.items() if pair[0] in there][:most])
