"""Everything that talks to the service: the Python SDK, the command line, the demo, and the local stack."""

from clients.sdk.client import Polymerge

__all__ = ["Polymerge"]
