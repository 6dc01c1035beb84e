"""What a key may ask: each route depends on one of READ, GENERATE, MERGE and ADMIN."""

from fastapi import Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from service.contracts.access import ApiKey
from service.errors import ProblemError


class _ScopeCheck(HTTPBearer):
    """In the OpenAPI document: a bearer token, with the scope that the route needs."""

    def __init__(self) -> None:
        super().__init__(scheme_name="API key", description="`polymerge keys create` makes one.")

    async def __call__(self, request: Request, needed: SecurityScopes) -> None:  # type: ignore[override]
        """Raises ProblemError (403)."""
        key: ApiKey | None = request.state.key
        (scope,) = needed.scopes
        request.state.needed_scope = scope
        if key is not None and not key.allows(scope):
            has = ", ".join(sorted(key.scopes))
            detail = f"this needs the scope '{scope}', and the key '{key.name}' has {has}"
            challenge = f'Bearer realm="polymerge", error="insufficient_scope", scope="{scope}"'
            raise ProblemError(403, "missing-scope", detail, headers={"WWW-Authenticate": challenge})


_check = _ScopeCheck()
READ = Security(_check, scopes=["read"])
"""Looks at what is there."""
GENERATE = Security(_check, scopes=["generate"])
"""Asks models."""
MERGE = Security(_check, scopes=["merge"])
"""Makes models, and changes what is said of them."""
ADMIN = Security(_check, scopes=["admin"])
"""Takes something away from others: their models, their engine, everybody's time."""
