"""A hub to download from without a network: lists, hashes, redirects, ranges, and refusals."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandIn:
    """What the hub holds, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)  # user/repo/path: content
    token: str | None = None  # asked for where set
    gated: bool = False
    status: int = 0  # answer everything with this
    ranges: bool = True  # whether a Range is honoured
    cut_after: int | None = None  # bytes after which the next bodies break off
    garbage: bytes | None = None  # answer everything with this
    short: bool = False  # content lacks its end
    dead_after: int | None = None  # bytes of content after which nothing more comes
    damage: bool = False
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    ranges_asked: list[str] = field(default_factory=list)
    sent: int = 0
    stored: int = 0  # of that, content
    tokens_at_storage: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        if hub.status:
            return self._answer(hub.status, {}, b"{}")
        if hub.garbage is not None:
            return self._answer(200, {"Content-Type": "text/html"}, hub.garbage)
        if path.startswith("/storage/"):
            return self._storage(path.removeprefix("/storage/"))
        if hub.gated:
            return self._answer(403, {"X-Error-Code": "GatedRepo"}, b"{}")
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._answer(401, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if path.startswith("/api/models/"):
            return self._list(path.removeprefix("/api/models/"))
        user, repo, resolve, commit, *inner = [*path[1:].split("/"), "", "", ""]
        inner = inner[:-3]
        if resolve != "resolve":  # the library asks for more than files, e.g. on behalf of others
            return self._answer(404, {}, b"{}")
        name = "/".join((user, repo, *inner))
        if commit != COMMIT or name not in hub.files:
            code = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return self._answer(404, code, b"{}")
        content = hub.files[name]
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            # As the real one: content lies with another host.
            "Location": f"http://localhost:{self.server.server_address[1]}/storage/{name}",
        }
        self._answer(302, headers, b"")

    def _list(self, name: str) -> None:
        repo = "/".join(name.split("/")[:2])
        files = [f for f in self.hub.files if f.startswith(f"{repo}/")]
        if not files:
            return self._answer(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        siblings = [{"rfilename": f.removeprefix(f"{repo}/")} for f in files]
        about = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(about).encode())

    def _storage(self, name: str) -> None:
        hub, content = self.hub, self.hub.files[name]
        hub.tokens_at_storage.append(self.headers.get("Authorization") or "")
        if hub.damage:
            content = content[:-1] + b"?"
        status, headers = 200, {"Accept-Ranges": "bytes"}
        if hub.short:
            content = content[:-1]
        wanted = self.headers.get("Range")
        if wanted:
            hub.ranges_asked.append(wanted)
        if wanted and hub.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self._answer(status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        limits = [len(body)]
        if self.hub.cut_after is not None:
            limits.append(self.hub.cut_after)
        if self.hub.dead_after is not None and self.path.startswith("/storage/"):
            limits.append(max(0, self.hub.dead_after - self.hub.stored))
        if min(limits) < len(body):
            body = body[: min(limits)]
            self.close_connection = True
        self.hub.sent += len(body)
        self.hub.stored += len(body) if self.path.startswith("/storage/") else 0
        self.wfile.write(body)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A hub on a free port of this machine."""
    hub = StandIn()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
