"""Which language a text is in: py3langid, which carries its model and needs no network."""

import re
from importlib.metadata import version

import py3langid

DETECTOR = f"py3langid {version('py3langid')}"
_LETTERS = re.compile(r"[^\W\d_]")
_ENOUGH_LETTERS = 6


def detect(text: str) -> str | None:
    """The primary tag of the likeliest language; None for a text of fewer than six letters."""
    if len(_LETTERS.findall(text)) < _ENOUGH_LETTERS:
        return None
    return str(py3langid.classify(text)[0])
