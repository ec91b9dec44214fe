"""Errors by what they name: the option, its limit and its value, whatever the sentence around them."""

import re


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
