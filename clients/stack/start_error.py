"""The one exception for what keeps `polymerge up` from starting or running; its text is for people."""

from clients.told import Told


class StartError(Told):
    """Something in the way, and what to do about it."""
