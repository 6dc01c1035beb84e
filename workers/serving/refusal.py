"""How the loader, inside vLLM, tells the serve worker that a model is at fault: in vLLM's errors and log."""

import re

_MARKED = re.compile(r"\[polymerge: (.*?)\]!", re.DOTALL)


def mark(reason: str) -> str:
    """The text of an exception that the serve worker will recognise."""
    return f"[polymerge: {reason}]!"


def refusal_in(text: str) -> str | None:
    """The last reason that `text` has in it."""
    found = _MARKED.findall(text)
    return found[-1] if found else None
