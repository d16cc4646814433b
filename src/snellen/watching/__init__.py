"""Watches any PyTorch training loop and records what rules need."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snellen.watching.recorder import Recorder as Recorder

__all__ = ["Recorder"]


def __getattr__(name: str) -> Any:
    """Import the recorder, and torch with it, only when it is asked for: rules read the facts without torch."""
    if name == "Recorder":
        from snellen.watching.recorder import Recorder

        return Recorder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
