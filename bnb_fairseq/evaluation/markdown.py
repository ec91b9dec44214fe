"""Tables in Markdown."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table.

    Args:
        rows: cells, those of the head first.

    Returns:
        The table, its first column aligned to the left and the others to the right.
    """
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: float | None, form: str) -> str:
    """Write a figure in a format of Python's; ``-`` where there is none."""
    return "-" if value is None else format(value, form)
