"""Tables in plain text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """The lines of a table: a rule below the first row, the headings, and above the last, the totals.

    Args:
        rows: list of tuples of str.
        left: the columns that are aligned at the left; the others are at the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def whole(value: float) -> str:
    """A number rounded, with commas; "unknown" for nan."""
    return "unknown" if value != value else f"{value:,.0f}"
