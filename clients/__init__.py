"""Everything that talks to the service: the Python SDK, the command line, the demo, and the local stack."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.sdk.client import Polymerge

__all__ = ["Polymerge"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: commands that talk to no service need not wait for it.
    if name == "Polymerge":
        from clients.sdk.client import Polymerge

        return Polymerge
    raise AttributeError(name)
