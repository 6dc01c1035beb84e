"""The files of models, for those who take them elsewhere."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.access.scopes import READ
from service.contracts.model import Manifest
from service.errors import ProblemError
from service.parts import Wired
from service.routes.written import written

router = APIRouter(prefix="/models/{reference}", tags=["models"])


@router.get("/manifest", dependencies=[READ])
def get_manifest(reference: str, parts: Wired) -> Manifest:
    """All there is to know of the model: files with sizes and digests, tensors, recipe, versions."""
    return parts.store.manifest(parts.registry.resolve(reference))


@router.get("/files/{name}", dependencies=[READ], response_class=FileResponse)
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
