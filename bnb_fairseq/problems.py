"""Faults of options, collected into one error."""

import difflib
from collections.abc import Collection

LISTED = 24  # names in a message


class Problems:
    """Collects faults of options into one error.

    Args:
        place: owner of the options, such as a model's name; the message begins with it.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._found: list[str] = []

    def require(self, holds: bool, option: str, constraint: str, value: object) -> None:
        """Note an option unless its constraint holds.

        Args:
            holds: whether it does.
            option: the option's name, without leading dashes.
            constraint: the limit, for the message, such as "must be at least 1".
            value: the option's value.
        """
        if not holds:
            self._found.append(f"--{option} {constraint}, but is {value}")

    def raise_if_any(self) -> None:
        """Raise a ValueError that lists each noted option with its limit and value, if there is any."""
        if self._found:
            raise ValueError(f"{self._place}: {'; '.join(self._found)}")


def unknown_option(name: str, known: Collection[str]) -> str:
    """The message about an unknown option, with similar names.

    Args:
        name: its name.
        known: the names that exist.

    Returns:
        The message.
    """
    close = difflib.get_close_matches(name.lstrip("-").replace("-", "_").lower(), sorted(known))
    if close:
        return f"there is no option {name}; did you mean {' or '.join(close)}?"
    listed = sorted(known)[:LISTED]
    return f"there is no option {name}; there are {', '.join(listed)}{', ...' * (len(known) > LISTED)}"
