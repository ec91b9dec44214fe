"""Options that do not fit, collected into one error."""


class Problems:
    """Collects options that do not fit, so that all of them come in one error.

    Args:
        place: what has the options, such as a model's name; the message begins with it.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._found: list[str] = []

    def require(self, holds: bool, option: str, constraint: str, value: object) -> None:
        """Note an option unless its constraint holds.

        Args:
            holds: whether it does.
            option: the option's name, without dashes in front.
            constraint: what the value must be, for the message.
            value: what it is.
        """
        if not holds:
            self._found.append(f"--{option} {constraint}, but is {value}")

    def raise_if_any(self) -> None:
        """Refuse the options.

        Raises:
            ValueError: listing each offending option, what it must be, and what it is.
        """
        if self._found:
            raise ValueError(f"{self._place}: {'; '.join(self._found)}")
