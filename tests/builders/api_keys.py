"""API keys for tests, as `polymerge keys create` makes them."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from clients.keys import create_key
from service.contracts.access import Scope


def bearer(
    file: Path,
    name: str,
    scopes: Collection[Scope],
    *,
    requests_per_minute: int | None = None,
    concurrent_requests: int | None = None,
    lifetime: timedelta | None = None,
) -> dict[str, str]:
    """Headers of requests with a new key."""
    _, secret = create_key(
        file,
        name,
        scopes,
        requests_per_minute=requests_per_minute,
        concurrent_requests=concurrent_requests,
        lifetime=lifetime,
    )
    return {"Authorization": f"Bearer {secret}"}
