"""Models and aliases as the SDK shows them."""

from collections.abc import Iterator, Sequence

from pydantic import TypeAdapter

from clients.sdk.connection import LONG, Connection
from service.contracts.job import Job
from service.contracts.model import (
    Alias,
    AliasTarget,
    ImportRequest,
    ImportSource,
    Model,
    ModelPage,
    Verification,
)

_ALIASES = TypeAdapter(list[Alias])


class Models:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def import_(
        self,
        source: ImportSource,
        *,
        name: str | None = None,
        base: str | None = None,
        languages: Sequence[str] = (),
        objective: str | None = None,
        license: str | None = None,
    ) -> Job | Model:
        """Register what lies under the service's sources root. A Model when it is registered already."""
        request = ImportRequest(
            source=source,
            name=name,
            base=base,
            languages=list(languages),
            objective=objective,
            license=license,
        )
        body = request.model_dump_json(exclude_none=True)
        answer = self._connection.send("POST", "/models", body=body)
        return job_or_model(answer.status_code, answer.content)

    def get(self, reference: str) -> Model:
        """By id or alias. Raises ProblemError with status 404."""
        return Model.model_validate_json(self._connection.get(f"/models/{reference}").content)

    def materialize(self, reference: str) -> Job | Model:
        """Have a virtual model written, under its id. A Model when it is written already."""
        answer = self._connection.send("POST", f"/models/{reference}/materialize")
        return job_or_model(answer.status_code, answer.content)

    def verify(self, reference: str) -> Verification:
        """Have every byte of the model compared with its manifest; one that is damaged is out of service."""
        answer = self._connection.send("POST", f"/models/{reference}/verify", timeout=LONG)
        return Verification.model_validate_json(answer.content)

    def page(
        self,
        cursor: str | None = None,
        limit: int | None = None,
        language: str | None = None,
        objective: str | None = None,
    ) -> ModelPage:
        query = {"cursor": cursor, "limit": limit, "language": language, "objective": objective}
        return ModelPage.model_validate_json(self._connection.get("/models", query).content)

    def all(self, language: str | None = None, objective: str | None = None) -> Iterator[Model]:
        """Every model, page after page, newest first."""
        cursor = None
        while True:
            page = self.page(cursor, language=language, objective=objective)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def set_alias(self, name: str, model: str) -> Alias:
        """Point the alias at the model."""
        body = AliasTarget(model=model).model_dump_json()
        return Alias.model_validate_json(self._connection.send("PUT", f"/aliases/{name}", body=body).content)

    def aliases(self) -> list[Alias]:
        return _ALIASES.validate_json(self._connection.get("/aliases").content)


def job_or_model(status: int, content: bytes) -> Job | Model:
    """202 is a job to wait for; 200 is the model, which exists already."""
    return Job.model_validate_json(content) if status == 202 else Model.model_validate_json(content)
