"""Errors by the facts they name: options, limits and values stay when the prose around them changes."""

import re
from collections.abc import Sequence


def names(*facts: object) -> str:
    """Pattern for ``pytest.raises(match=...)``: one line with all facts, in this order, each a word of its own.

    ``--ctc-beam`` is no word of its own in ``--ctc-beam-symbols``, nor is 5 in 15, 5.5 or -5.
    """
    words = [rf"(?<![\w-])(?<!\w\.){re.escape(str(fact))}(?![.-]?\w)" for fact in facts]
    return rf"\A.*{'.*'.join(words)}.*\Z"


def named(output: str, *facts: object) -> bool:
    """Whether a line of a command's output names all facts, see ``names``."""
    return any(re.match(names(*facts), line) for line in output.splitlines())


def naming(*problems: str) -> str:
    """A pattern of an error that names exactly these problems, in this order.

    Problems are separated by semicolons; "..." in one of them stands for any words. Numbers and words match whole: 1 is
    not found in 10, 1.5 or -1.
    """
    words = ["[^;]*?".join(map(_whole, re.split(r" ?\.\.\. ?", problem))) for problem in problems]
    return f"^[^;]*?{'[^;]*; [^;]*?'.join(words)}[^;]*$"


def _whole(part: str) -> str:
    start = r"(?<![\w-])(?<!\d\.)" if re.match(r"[\w-]", part) else ""
    end = r"(?!\w|\.\d)" if re.search(r"\w$", part) else ""
    return f"{start}{re.escape(part)}{end}"


def says(error: object, pattern: str) -> bool:
    """Whether an error's text has the parts of a pattern, which ``...`` separates, in this order."""
    place, text = 0, str(error)
    for part in (part.strip() for part in pattern.split("...")):
        place = text.find(part, place) + len(part)
        if place < len(part):
            return False
    return True


def check_faults(error: object, patterns: Sequence[str]) -> None:
    """Check that an error lists just these faults, separated by semicolons, in this order."""
    faults = str(error).split("; ")
    assert len(faults) == len(patterns), faults
    for fault, pattern in zip(faults, patterns, strict=True):
        assert says(fault, pattern), (fault, pattern)
