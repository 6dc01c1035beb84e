"""The one exception for what keeps a local merge from running; its text is for people."""


class Unusable(Exception):
    """A model, a folder or an option that can't be used, and what to do about it."""
