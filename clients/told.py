"""The base of errors that the command line tells in one line."""


class Told(Exception):
    """The text is for people: what is wrong, and what to do about it."""
