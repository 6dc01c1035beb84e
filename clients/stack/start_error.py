"""The one exception for what keeps `polymerge up` from starting or running; its text is for people."""


class StartError(Exception):
    """Something in the way, and what to do about it."""
