"""A stand-in for the Hugging Face Hub on loopback: as much of its API as pushing and loading a model needs."""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit


class Hub(http.server.ThreadingHTTPServer):
    """Repositories in memory.

    Args:
        accepts_writing: Whether it lets anybody write.
    """

    def __init__(self, *, accepts_writing: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.accepts_writing = accepts_writing
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.num_commits = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit_of(self, name: str) -> str:
        content = repr(sorted(self.repositories[name].items())).encode()
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def run_hub(**options: bool) -> Iterator[Hub]:
    hub = Hub(**options)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Writes nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif not self.server.accepts_writing:
            self._answer({"error": "Invalid username or password."}, status=401)
        elif path == "/api/repos/create":
            options = json.loads(body)
            name = f"{options['organization']}/{options['name']}"
            self.server.created.append(options)
            self.server.repositories.setdefault(name, {})
            self._answer({"url": f"{self.server.address}/{name}", "id": name})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            self._commit(name, [json.loads(line) for line in body.splitlines()])

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["key"] == "file":
                self.server.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self.server.num_commits += 1
        commit = self.server.commit_of(name)
        url = f"{self.server.address}/{name}/commit/{commit}"
        self._answer({"commitOid": commit, "commitUrl": url, "success": True})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        name = next((name for name in self.server.repositories if f"{name}/" in f"{path}/"), None)
        if name is None:
            self._answer({"error": "Repository not found"}, status=404, headers={"X-Error-Code": "RepoNotFound"})
            return
        files, commit = self.server.repositories[name], self.server.commit_of(name)
        if "/resolve/" in path:
            content = files[path.partition("/resolve/")[2].partition("/")[2]]
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self._answer(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit})
        elif "/tree/" in path:
            self._answer([{"type": "file", "path": file, "size": len(files[file]), "oid": commit} for file in files])
        else:
            self._answer({"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]})

    def _answer(self, content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)
