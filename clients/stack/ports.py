"""TCP ports: is this one free, and which one is."""

import errno
import socket

from clients.stack.start_error import StartError


def claim_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises StartError if it is taken or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do it: connections of an earlier run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartError(f"port {port} on {host} is taken: choose another with --port") from None
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        return int(probe.getsockname()[1])
