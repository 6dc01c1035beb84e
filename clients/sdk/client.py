"""The client of one gateway.

from clients import Polymerge

polymerge = Polymerge()
model = polymerge.merge(Path("recipe.yaml"), name="merged")
print(polymerge.generate("merged", "Bonjour, qui es-tu ?", language="fr").outputs[0].text)
"""

import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter

from clients.sdk.connection import Connection
from clients.sdk.errors import ProblemError, read_problem
from clients.sdk.jobs import Jobs
from clients.sdk.merges import Merges, Recipe
from clients.sdk.models import Models
from clients.sdk.readiness import ask
from clients.sdk.store import ModelStore
from service.contracts.engine import Engine, EnginePage, Pin, Readiness
from service.contracts.generation import Delta, GenerateRequest, GenerateResponse, Message, Prompt
from service.contracts.job import Job
from service.contracts.language import LanguageProfile
from service.contracts.methods.spec import MethodDescription
from service.contracts.model import Model

# The service itself gives up after 10 minutes of loading the model.
_GENERATE_TIMEOUT = httpx2.Timeout(30.0, read=660.0)
_METHODS = TypeAdapter(list[MethodDescription])
_LANGUAGES = TypeAdapter(list[LanguageProfile])
DEFAULT_URL = "http://127.0.0.1:8000"

Asked = str | Sequence[str | Prompt] | list[Message]
"""A prompt, several, or one conversation."""


class Polymerge:
    """`base_url` defaults to POLYMERGE_URL, `api_key` to POLYMERGE_API_KEY. Threads may share it."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None) -> None:
        self.base_url = (base_url or os.environ.get("POLYMERGE_URL") or DEFAULT_URL).rstrip("/")
        self._connection = Connection(self.base_url, api_key or os.environ.get("POLYMERGE_API_KEY"))
        self.jobs = Jobs(self._connection)
        self.merges = Merges(self._connection)
        self.models = Models(self._connection)
        self.store = ModelStore(self._connection)

    def merge(
        self,
        recipe: Recipe,
        name: str | None = None,
        seed: int | None = None,
        on_progress: Callable[[Job], None] | None = None,
        materialize: bool | None = None,
    ) -> Model:
        """Submit the recipe and wait for the model, unless it is to be virtual: then it is there at once.

        Raises ProblemError, JobFailed.
        """
        return self.finish(self.merges.submit(recipe, name, seed, materialize), on_progress)

    def finish(self, work: Job | Model, on_progress: Callable[[Job], None] | None = None) -> Model:
        """The model that the work makes, once it is there. Raises JobFailed."""
        if isinstance(work, Model):
            return work
        job = self.jobs.wait(work.id, on_progress)
        return self.models.get(str(job.model))

    def generate(
        self, model: str, prompt: Asked, *, language: str | None = None, **sampling: Any
    ) -> GenerateResponse:
        """Answers to a prompt, several, or a conversation; `sampling` as in GenerateRequest."""
        body = _request(model, prompt, language, sampling).model_dump_json(exclude_none=True)
        answer = self._connection.send("POST", "/generate", body=body, timeout=_GENERATE_TIMEOUT)
        return GenerateResponse.model_validate_json(answer.content)

    def generate_stream(
        self, model: str, prompt: Asked, *, language: str | None = None, **sampling: Any
    ) -> Iterator[Delta | GenerateResponse]:
        """Pieces of text as they come; the last item is the whole response."""
        request = _request(model, prompt, language, {**sampling, "stream": True})
        body = request.model_dump_json(exclude_none=True)
        with self._connection.events("POST", "/generate", body, timeout=_GENERATE_TIMEOUT) as events:
            for event in events:
                if event.event == "delta":
                    yield Delta.model_validate_json(event.data)
                elif event.event == "done":
                    yield GenerateResponse.model_validate_json(event.data)
                elif event.event == "error":
                    raise ProblemError(read_problem(500, event.data))

    def methods(self) -> list[MethodDescription]:
        """The merge methods and their parameters."""
        return _METHODS.validate_json(self._connection.get("/methods").content)

    def languages(self) -> list[LanguageProfile]:
        """Languages with a profile of their own."""
        return _LANGUAGES.validate_json(self._connection.get("/languages").content)

    def engines(self) -> list[Engine]:
        """The vLLM servers, and what each is doing."""
        return self.serving().items

    def serving(self) -> EnginePage:
        """Engines and serve workers, models that requests wait for, pins, and loads that failed."""
        return EnginePage.model_validate_json(self._connection.get("/engines").content)

    def pin(self, model: str) -> str:
        """Load the model and keep it loaded; returns its id."""
        answer = self._connection.send("PUT", f"/models/{quote(model, safe='')}/pin")
        return Pin.model_validate_json(answer.content).model

    def unpin(self, model: str) -> None:
        """Let the model be evicted and unloaded again."""
        self._connection.send("DELETE", f"/models/{quote(model, safe='')}/pin")

    def ready(self) -> Readiness | None:
        """What the service can do now; None when nobody answers."""
        return ask(self.base_url)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Polymerge":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _request(model: str, asked: Asked, language: str | None, sampling: dict[str, Any]) -> GenerateRequest:
    if isinstance(asked, str):
        field = "prompt"
    else:
        field = "messages" if any(isinstance(item, Message) for item in asked) else "prompts"
    return GenerateRequest.model_validate({"model": model, "language": language, field: asked, **sampling})
