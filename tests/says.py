"""What an error names, whatever its words."""

from collections.abc import Sequence


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
