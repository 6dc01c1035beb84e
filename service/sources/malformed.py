"""What the readers of source files raise, and its way into a refusal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.recipes.refusal import refuse

_LONGEST = 500


class Malformed(ValueError):
    """A file is not what its format says; the message names the file and what is wrong with it."""

    def __init__(self, message: str) -> None:
        # It quotes the file: of any length, and with characters that an answer can't carry.
        super().__init__(message[:_LONGEST].encode(errors="backslashreplace").decode())


@contextmanager
def refused_at(*pointer: str | int) -> Iterator[None]:
    """Turn Malformed and OSError into Refused at `pointer`, a place in the import request."""
    try:
        yield
    except Malformed as error:
        raise refuse(*pointer, detail=str(error)) from None
    except OSError as error:
        name = Path(str(error.filename)).name if error.filename else "the source"
        raise refuse(*pointer, detail=f"{name} can't be read: {error.strerror or error}") from None
