"""Errors of use: what the caller gave cannot be used, and one line says what to do about it."""


class UseError(ValueError):
    """Base of every error that the command line prints as one line and answers with exit code 2."""


class Interrupted(Exception):  # noqa: N818  # it is no error
    """A training was stopped by Ctrl-C or SIGTERM and saved; the message says how to go on. Exit code 130."""
