"""Errors by the facts they name: options, limits and values stay when the prose around them changes."""

import re


def names(*facts: object) -> str:
    """Pattern for ``pytest.raises(match=...)``: one line with all facts, in this order, each a word of its own.

    ``--ctc-beam`` is no word of its own in ``--ctc-beam-symbols``, nor is 5 in 15, 5.5 or -5.
    """
    words = [rf"(?<![\w-])(?<!\w\.){re.escape(str(fact))}(?![.-]?\w)" for fact in facts]
    return rf"\A.*{'.*'.join(words)}.*\Z"


def named(output: str, *facts: object) -> bool:
    """Whether a line of a command's output names all facts, see ``names``."""
    return any(re.match(names(*facts), line) for line in output.splitlines())
