"""The one exception for what keeps a push from its hub; its text is for people."""


class PushFailed(Exception):
    """The hub did not take the model. The message holds neither the token nor an address with a signature."""
