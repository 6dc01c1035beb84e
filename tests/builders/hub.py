"""A stand-in for the Hugging Face hub, as far as its client goes: repositories, files, LFS, commits."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: with one of them one may only read."""


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {".gitattributes": b""}})


@dataclass
class Fault:
    """The next requests whose method and path match `what` fail."""

    what: str
    status: int | None = None
    """None: the connection is cut after `received` bytes of the body."""
    received: int = 0
    times: int = 1


class Hub:
    """`with hub.running() as url`; what it has and what it was asked can be looked at."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        """LFS: sha256 -> content."""
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        """METHOD PATH of every request."""
        self.lock = Lock()

    def uploads(self) -> list[str]:
        """sha256 of every object that was sent in full."""
        return [line.rpartition("/")[2] for line in self.asked if line.startswith("STORED ")]

    @contextmanager
    def running(self) -> Iterator[str]:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Not on standard error."""

    def _serve(self) -> None:
        asked = f"{self.command} {self.path}"
        with self.hub.lock:
            self.hub.asked.append(asked)
            fault = next((fault for fault in self.hub.faults if re.search(fault.what, asked)), None)
            if fault is not None:
                fault.times -= 1
                if fault.times == 0:
                    self.hub.faults.remove(fault)
        if fault is not None and fault.status is None:
            self.rfile.read(fault.received)
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        if fault is not None:
            self._answer(int(fault.status or 500), {"error": "not now"})
            return
        with self.hub.lock:
            self._answer(*self._do(body))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _do(self, body: bytes) -> tuple[int, Any]:
        """Status and answer."""
        path = self.path.partition("?")[0]
        if found := re.fullmatch("/lfs/([0-9a-f]{64})", path):
            return self._store(found[1], body)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITER, READER):
            return 401, {"error": "Invalid username or password."}
        if token == READER and self.command == "POST" and not path.endswith("validate-yaml"):
            return 403, {"error": "You don't have the rights to create a model under this namespace"}
        for pattern, action in _ROUTES:
            if found := re.fullmatch(pattern, path):
                if found.lastindex and found[1] not in self.hub.repositories:
                    return 404, {"error": "Repository not found"}
                return action(self, body, *found.groups())
        return 404, {"error": f"no route {path}"}

    def _store(self, digest: str, body: bytes) -> tuple[int, Any]:
        if hashlib.sha256(body).hexdigest() != digest:
            return 400, {"error": "other bytes than announced"}
        self.hub.objects[digest] = body
        self.hub.asked.append(f"STORED /lfs/{digest}")
        return 200, {}

    def _create(self, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        there = {"url": f"{self._address()}/{name}"}
        if name in self.hub.repositories:
            return 409, there | {"error": "You already created this model repo"}
        self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return 200, there

    def _branch(self, _: bytes, name: str, branch: str) -> tuple[int, Any]:
        branches = self.hub.repositories[name].branches
        if branch in branches:
            return 409, {"error": f"Reference already exists: refs/heads/{branch}"}
        branches[branch] = {".gitattributes": b""}
        return 200, {}

    def _info(self, _: bytes, name: str, revision: str = "main") -> tuple[int, Any]:
        siblings = [{"rfilename": path} for path in self._files(name, revision)]
        return 200, {"id": name, "sha": _commit_of(name), "siblings": siblings}

    def _file(self, _: bytes, name: str, revision: str, path: str) -> tuple[int, Any]:
        return 200, self._files(name, revision)[path]

    def _files(self, name: str, revision: str) -> dict[str, bytes]:
        """Of a branch, or by the id of main's commit."""
        return self.hub.repositories[name].branches["main" if revision == _commit_of(name) else revision]

    def _tree(self, _: bytes, name: str, revision: str) -> tuple[int, Any]:
        files = self._files(name, revision)
        return 200, [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]

    def _validate(self, _: bytes) -> tuple[int, Any]:
        return 200, {"errors": [], "warnings": []}

    def _preupload(self, body: bytes, name: str, branch: str) -> tuple[int, Any]:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return 200, {"files": files}

    def _batch(self, body: bytes, name: str) -> tuple[int, Any]:
        objects = []
        for item in json.loads(body)["objects"]:
            href = f"{self._address()}/lfs/{item['oid']}?X-Amz-Signature=secret"
            missing = item["oid"] not in self.hub.objects
            objects.append(item | ({"actions": {"upload": {"href": href}}} if missing else {}))
        return 200, {"transfer": "basic", "objects": objects}

    def _commit(self, body: bytes, name: str, branch: str) -> tuple[int, Any]:
        files = self.hub.repositories[name].branches[branch]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = hashlib.sha1(body).hexdigest()
        return 200, {"commitOid": commit, "commitUrl": f"{self._address()}/{name}/commit/{commit}"}

    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer(self, status: int, answer: Any) -> None:
        """With a file's content, or with JSON."""
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if isinstance(answer, bytes):
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", _commit_of(self.path.partition("/resolve/")[0][1:]))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _commit_of(name: str) -> str:
    """On main, when the repository is read."""
    return hashlib.sha1(name.encode()).hexdigest()


_NAME = r"([^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
    ("/api/repos/create", _Handler._create),
    ("/api/validate-yaml", _Handler._validate),
    (f"/api/models/{_NAME}", _Handler._info),
    (f"/api/models/{_NAME}/revision/([^/]+)", _Handler._info),
    (f"/{_NAME}/resolve/([^/]+)/(.+)", _Handler._file),
    (f"/api/models/{_NAME}/branch/([^/]+)", _Handler._branch),
    (f"/api/models/{_NAME}/tree/([^/]+)", _Handler._tree),
    (f"/api/models/{_NAME}/preupload/([^/]+)", _Handler._preupload),
    (f"/api/models/{_NAME}/commit/([^/]+)", _Handler._commit),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler._batch),
]
