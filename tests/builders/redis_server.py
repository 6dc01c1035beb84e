"""A Redis as `polymerge up` starts it, append-only and on a folder, to be killed and restarted."""

import subprocess
import time
from pathlib import Path

from clients.stack.embedded_redis import EmbeddedRedis, find_server


class RedisServer:
    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedRedis(find_server(), folder)
        self.url = self._server.url
        self.start()

    def start(self) -> None:
        """On the same port and folder as before."""
        part = self._server.part()
        self._process = subprocess.Popen(part.command, stdin=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(part.stdin or "")
        self._process.stdin.close()
        deadline = time.monotonic() + 30
        while not self._server.answers():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid
