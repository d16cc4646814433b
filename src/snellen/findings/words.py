"""Numbers and names as parts of a sentence, for messages and reports."""

from collections.abc import Sequence


def plural(count: int, one: str, many: str = "") -> str:
    """`1 image`, `1,204 images`; with `many`, `1 box has` and `3 boxes have`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first names in one line, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
