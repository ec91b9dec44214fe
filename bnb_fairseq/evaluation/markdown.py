"""Tables in Markdown."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of rows, the head first: the first column is aligned left, the others right."""
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: float | None, form: str) -> str:
    """Format a figure; None is ``-``."""
    return "-" if value is None else format(value, form)
