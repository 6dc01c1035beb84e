"""What is known about the request whose work is being done, in whichever thread, task or process that is."""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class RequestNotes:
    """Filled in while the request is answered; never with what the client says or is told."""

    id: str
    traceparent: str | None = None
    """Of the request's span, as W3C's header has it; None where traces are not wanted."""
    model: str | None = None
    """The id of the model that is asked."""
    language: str | None = None
    """The tag of the language profile that is used."""
    tokens_in: int = 0
    tokens_out: int = 0


_current: ContextVar[RequestNotes | None] = ContextVar("polymerge_request", default=None)


def begin(request_id: str | None) -> RequestNotes:
    """All that this task does from now on, and the threads and tasks that it starts, is for this request.

    An id that is missing, or not 1 to 64 of A-Z a-z 0-9 . _ -, is replaced by a new one.
    """
    valid = request_id is not None and _PATTERN.fullmatch(request_id)
    notes = RequestNotes(request_id if request_id and valid else secrets.token_hex(8))
    _current.set(notes)
    return notes


def current_request_id() -> str | None:
    """None outside of requests."""
    notes = _current.get()
    return notes.id if notes else None


def current_traceparent() -> str | None:
    """None where traces are not wanted."""
    notes = _current.get()
    return notes.traceparent if notes else None


def outgoing_headers() -> dict[str, str]:
    """What tells another server which request it is asked for."""
    headers = {"X-Request-ID": current_request_id(), "traceparent": current_traceparent()}
    return {name: value for name, value in headers.items() if value}


def note_model(model: str, language: str | None) -> None:
    """Say which model the request asks, once that is known."""
    notes = _current.get()
    if notes:
        notes.model, notes.language = model, language


def note_usage(usage: Any) -> None:
    """Add the tokens of an answer, as OpenAI's API has them in `usage`; of something else, nothing."""
    notes = _current.get()
    if notes and isinstance(usage, dict):
        notes.tokens_in += _count(usage.get("prompt_tokens"))
        notes.tokens_out += _count(usage.get("completion_tokens"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
