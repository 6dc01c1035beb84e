"""Models and aliases as the SDK shows them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from clients.sdk.connection import LONG, Connection
from clients.sdk.export import export
from service.contracts.job import Job
from service.contracts.lineage import Lineage
from service.contracts.model import (
    Alias,
    AliasMove,
    AliasTarget,
    ImportRequest,
    ImportSource,
    Manifest,
    Model,
    ModelChange,
    ModelPage,
    Verification,
)
from service.contracts.push import PushRequest

_ALIASES = TypeAdapter(list[Alias])
_MOVES = TypeAdapter(list[AliasMove])


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

    def export(
        self, reference: str, folder: Path, read: Callable[[int, int], None] = lambda _, __: None
    ) -> Manifest:
        """Bring the model's files into a folder that transformers, vLLM and mergekit load.

        `read` hears of bytes done and in all. Raises ExportError, ProblemError with status 409 for a model
        that is virtual or damaged.
        """
        return export(self._connection, reference, folder, read)

    def push(self, reference: str, repository: str, *, private: bool = False, revision: str = "main") -> Job:
        """Have a worker upload the model's files to OWNER/NAME on the Hugging Face hub.

        Raises ProblemError with status 403 when the service does not push.
        """
        request = PushRequest(repository=repository, private=private, revision=revision)
        answer = self._connection.send("POST", f"/models/{reference}/push", body=request.model_dump_json())
        return Job.model_validate_json(answer.content)

    def verify(self, reference: str) -> Verification:
        """Have every byte of the model compared with its manifest; one that is damaged is out of service."""
        answer = self._connection.send("POST", f"/models/{reference}/verify", timeout=LONG)
        return Verification.model_validate_json(answer.content)

    def page(self, cursor: str | None = None, **wanted: str | int | None) -> ModelPage:
        """`wanted`: limit, kind, language, objective, tag, method, base, state, q."""
        query = {**wanted, "cursor": cursor}
        return ModelPage.model_validate_json(self._connection.get("/models", query).content)

    def all(self, **wanted: str | None) -> Iterator[Model]:
        """Every model that is as `wanted`, page after page, newest first."""
        cursor = None
        while True:
            page = self.page(cursor, **wanted)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def annotate(
        self, reference: str, *, notes: str | None = None, tags: Sequence[str] | None = None
    ) -> Model:
        """Change its notes, its tags or both."""
        change = ModelChange(notes=notes, tags=None if tags is None else list(tags))
        body = change.model_dump_json(exclude_none=True)
        return Model.model_validate_json(
            self._connection.send("PATCH", f"/models/{reference}", body=body).content
        )

    def lineage(self, reference: str) -> Lineage:
        """What it was made of, and what was made of it."""
        return Lineage.model_validate_json(self._connection.get(f"/models/{reference}/lineage").content)

    def delete(self, reference: str, *, force: bool = False) -> None:
        """Move it to the trash. Raises ProblemError with status 409 when something needs it."""
        self._connection.send("DELETE", f"/models/{reference}", {"force": force})

    def restore(self, model_id: str) -> Model:
        """Bring it back from the trash."""
        return Model.model_validate_json(self._connection.send("POST", f"/models/{model_id}/restore").content)

    def set_alias(self, name: str, model: str) -> Alias:
        """Point the alias at the model."""
        body = AliasTarget(model=model).model_dump_json()
        return Alias.model_validate_json(self._connection.send("PUT", f"/aliases/{name}", body=body).content)

    def remove_alias(self, name: str) -> None:
        """The model stays."""
        self._connection.send("DELETE", f"/aliases/{name}")

    def alias_history(self, name: str) -> list[AliasMove]:
        """Oldest first."""
        return _MOVES.validate_json(self._connection.get(f"/aliases/{name}/history").content)

    def aliases(self) -> list[Alias]:
        return _ALIASES.validate_json(self._connection.get("/aliases").content)


def job_or_model(status: int, content: bytes) -> Job | Model:
    """202 is a job to wait for; 200 is the model, which exists already."""
    return Job.model_validate_json(content) if status == 202 else Model.model_validate_json(content)
