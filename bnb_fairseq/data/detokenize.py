"""Putting back the spaces that WordPiece forgets: BERT splits off every punctuation mark and CJK character.

The rules guess from what stands around a mark, for European languages and for CJK text; a test sends real text there
and back.
"""

import re
from collections.abc import Sequence

CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
PAIRS = (('"', '"'), ("`", "`"), ("\u00bb", "\u00ab"), ("\u00ab", "\u00bb"), ("\u201e", "[\u201c\u201d]"))

# (pattern, replacement), applied in this order to words and marks with a space between any two of them.
RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([-+/*=.&|<>#]) (?=\1)", r"\1"),  # C++, ==, //
        *((rf"({opening}) ([^{opening}]*?) ({closing})", r"\1\2\3") for opening, closing in PAIRS),
        (r" ([,;:!?%)\]}\u2026\u2019])", r"\1"),  # marks that end something
        (r" \.", "."),
        (r"([(\[{$#@\u201e\u201a]) ", r"\1"),  # marks that begin something
        (r" - (?=(?:und|oder|bzw|sowie)\b)", "- "),  # Ein- und Ausgabe
        (r"(?<=[\u00ab\u00bb\u201c\u201d\")}`]) ?(-) ?(?=\w)", r"\1"),
        (r"(?<=\w) (?=\+\+)", ""),
        (r"(?<=\w) ?([-/_'\u2019&=*+|\\])(?! (?:und|oder|bzw|sowie)\b) ?(?=\w)", r"\1"),  # marks inside a word
        (r"(?<=\d[.,:]) (?=\d)", ""),  # 3.5, 10:30
        (r"(?<=[^\W\d_A-Z][.:]) (?=[a-z0-9_])", ""),  # example.com, media_player.living_room
        (r"(?<=:) (?=//)|(?<=\]) (?=\()", ""),  # https://example.com, [text](link)
        (r"(?<=[/\\<]) (?=\w)", ""),
        (r"(?<=\w) (?=[>])", ""),
        (rf"(?<=[{CJK}]) (?=[{CJK}])", ""),
    )
)


def join_wordpieces(symbols: Sequence[str]) -> str:
    """Write WordPiece symbols as text.

    Args:
        symbols: symbols, special ones left out.

    Returns:
        Text; what lies between two marks, or a mark and a word, is a guess.
    """
    text = " ".join(symbols).replace(" ##", "")
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text
