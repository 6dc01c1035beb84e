"""What can go wrong between a client and the service; every text is for people."""

import json

from pydantic import ValidationError

from clients.told import Told
from service.contracts.job import Job
from service.contracts.problem import Problem


class PolymergeError(Told):
    """Base of everything that the SDK raises."""


class ProblemError(PolymergeError):
    """The service refused, and says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        # `detail` says all that `errors` say, in one line.
        return f"{self.problem.title}: {self.problem.detail}" if self.problem.title else self.problem.detail


class Unreachable(PolymergeError):
    """Nobody answers at the address."""


class JobFailed(PolymergeError):
    """A job that was waited for failed or was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        reason = f": {self.job.error.detail}" if self.job.error else ""
        return f"{self.job.kind} {self.job.id} {self.job.state}{reason}"


def read_problem(status: int, body: str) -> Problem:
    """The problem in an answer; one made up from the status when a proxy answered, say, with HTML."""
    blank = {"type": "unexpected-answer", "title": f"HTTP {status}", "status": status, "detail": body[:500]}
    try:
        document = json.loads(body)
        # Problems in a stream have no title.
        return Problem.model_validate({"title": "", **document} if "detail" in document else blank)
    except (ValueError, TypeError, ValidationError):
        return Problem.model_validate(blank)
