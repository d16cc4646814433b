"""How long jobs say how far they are; the command line draws it, the library is silent."""

from typing import Protocol


class Progress(Protocol):
    """Called by long jobs, often: cheap to call, free to ignore."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `stage` are finished; `note` is a short state such as "loss 0.42"."""


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """The Progress that shows nothing."""
