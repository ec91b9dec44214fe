"""Errors that a user can cause end a command with one line in place of a traceback.

Where a package is missing, the commands that install it have lines of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_line_errors(script: str, *expected: type[Exception]) -> Iterator[None]:
    """End the command on an expected error within the context; any other passes with its traceback.

    Args:
        script: its name, with which the line begins.
        *expected: classes of errors.

    Yields:
        Nothing.

    Raises:
        SystemExit: with the error's message as its code, which Python prints before it ends with exit status 1.
    """
    try:
        yield
    except expected as error:
        line = str(error) if isinstance(error, ImportError) else " ".join(str(error).split())
        raise SystemExit(f"{script}: {line}") from error
