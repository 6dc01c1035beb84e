"""Who asks: `Authorization: Bearer <key>`, before anything of the request is read."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.key_ring import KeyRing
from service.access.policy import check_origin, keys_required
from service.contracts.access import ApiKey
from service.errors import ProblemError, respond
from service.settings import Settings

OPEN_PATHS = {"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
"""Nothing in them is anybody's own: whether the service works, and how its API is described."""


class Authentication:
    """Middleware: the ApiKey into the request's state, None where none is needed; 401 without a valid one."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing) -> None:
        self._app, self._settings, self._keys = app, settings, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                key = None if scope["path"] in OPEN_PATHS else self._identify(Headers(scope=scope))
            except ProblemError as problem:
                await respond(scope["path"], problem)(scope, receive, send)
                return
            scope.setdefault("state", {})["key"] = key
        await self._app(scope, receive, send)

    def _identify(self, headers: Headers) -> ApiKey | None:
        """Raises ProblemError."""
        if not keys_required(self._settings, self._keys):
            check_origin(self._settings, headers.get("origin"))
            return None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized(
                "send an API key in the header Authorization: Bearer <key> (clients: POLYMERGE_API_KEY)", ""
            )
        key = self._keys.find(secret.strip())
        if key is None:
            raise _unauthorized("the API key is wrong, expired or revoked", ', error="invalid_token"')
        return key


def _unauthorized(detail: str, error: str) -> ProblemError:
    challenge = f'Bearer realm="polymerge"{error}'
    return ProblemError(401, "invalid-api-key", detail, headers={"WWW-Authenticate": challenge})
