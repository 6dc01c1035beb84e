"""The files of models, for those who take them elsewhere."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.access.scopes import READ
from service.contracts.model import Manifest
from service.errors import ProblemError
from service.parts import Wired
from service.routes.refusals import refusals
from service.routes.written import written

router = APIRouter(prefix="/models/{reference}", tags=["models"])

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_FILE: dict[int | str, dict[str, Any]] = {200: _BYTES, 206: _BYTES, 416: {"content": {"text/plain": {}}}}


@router.get("/manifest", dependencies=[READ], responses=refusals(404))
def get_manifest(reference: str, parts: Wired) -> Manifest:
    """All there is to know of the model: files with sizes and digests, tensors, recipe, versions."""
    return parts.store.manifest(parts.registry.resolve(reference))


@router.get(
    "/files/{name}", dependencies=[READ], response_class=FileResponse, responses=refusals(404, 409) | _FILE
)
def get_file(reference: str, name: str, parts: Wired) -> FileResponse:
    """One of the files that the manifest lists; parts of it by Range. 409: a virtual or damaged model."""
    manifest = written(parts, reference)
    if name not in manifest.files:
        raise ProblemError(404, "http-error", f"model {manifest.id} has no file '{name}'")
    return FileResponse(
        parts.store.file(manifest.id, name),
        media_type="application/octet-stream",
        headers={"ETag": f'"{manifest.files[name].sha256}"'},
    )
