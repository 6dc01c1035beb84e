"""When requests need a key."""

import ipaddress
from urllib.parse import urlsplit

from service.access.key_ring import KeyRing
from service.errors import ProblemError
from service.settings import Settings


class Unguarded(Exception):
    """The gateway would be open to others, or closed to everybody."""


def keys_required(settings: Settings, keys: KeyRing) -> bool:
    """`auto`: beyond loopback, and wherever keys were made."""
    if settings.auth == "auto":
        return keys.used or not _is_loopback(settings.host)
    return settings.auth == "on"


def check_listening(settings: Settings, keys: KeyRing) -> None:
    """Raises Unguarded where keys are required and there is none."""
    if keys_required(settings, keys) and not keys.any_valid():
        raise Unguarded(
            f"requests to {settings.host} need an API key and {settings.keys_path} has none that is valid: "
            "make one with `polymerge keys create NAME --scopes admin`, "
            "or set POLYMERGE_AUTH=off where something else guards the gateway"
        )


def check_origin(settings: Settings, origin: str | None) -> None:
    """Without keys, any page that a browser on this machine shows could ask for changes: it may not.

    Raises ProblemError (403). Programs send no Origin.
    """
    if settings.auth == "off" or origin is None:
        return
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        host = ""
    if not _is_loopback(host):
        detail = (
            "a page from elsewhere may not ask a gateway that needs no API key; `polymerge keys` makes one"
        )
        raise ProblemError(403, "foreign-origin", detail)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
