"""How many requests wait or are answered at a time: the rest is told to come back."""

from service.errors import ProblemError


class Admission:
    def __init__(self, limit: int, retry_after: int) -> None:
        self._limit, self._retry_after = limit, retry_after
        self._admitted = 0

    def enter(self) -> None:
        """Raises ProblemError (429) when the service is full."""
        if self._admitted >= self._limit:
            detail = f"{self._limit} requests are being answered or waiting; try again in a while"
            raise ProblemError(429, "overloaded", detail, retry_after=self._retry_after)
        self._admitted += 1

    def leave(self) -> None:
        self._admitted -= 1
