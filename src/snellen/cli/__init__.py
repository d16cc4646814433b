"""The command line: one file per verb, each importing what it needs only when it runs, so that help is instant."""

from snellen.cli.app import main

__all__ = ["main"]
