"""See DatasetError."""

from snellen.errors import UseError


class DatasetError(UseError):
    """No dataset can be read at a place: the message says where, what was looked for, and the remedy."""
