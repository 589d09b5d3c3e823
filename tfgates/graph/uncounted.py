"""What cannot be counted."""


class UncountedError(Exception):
    """The products of a call cannot be counted; the message says why."""
