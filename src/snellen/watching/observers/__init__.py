"""What a watch observes, one kind a file."""

from snellen.watching.observers.observer import Observer

ALL: tuple[type[Observer], ...] = ()
"""Every observer, in the order in which they look at a batch."""
