"""Saying whose multiply-accumulates are not known."""

from collections.abc import Iterable


def incomplete(uncounted: Iterable[tuple[str, str]], most: int = 8) -> str:
    """The end of a message about MACs that are not known of all layers: which, and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in dict(uncounted).items():
        by_reason.setdefault(reason, []).append(name)
    parts = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - most} more" if len(names) > most else ""
        parts.append(f"{', '.join(names[:most])}{more} ({reason})")
    return "; ".join(parts)
