"""Snellen: an eye exam for computer vision."""

from snellen._version import __version__

__all__ = ["__version__"]
