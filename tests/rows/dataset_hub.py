"""A Hub on this machine that holds one dataset: the few routes that streaming it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from listening import listening

REVISION = "c0ffee" + "0" * 34


@dataclass
class DatasetHub:
    """The files of one dataset, and which paths were asked for."""

    name: str
    files: dict[str, bytes]
    url: str = ""
    paths: list[str] = field(default_factory=list)
    refuse: tuple[int, str] | None = None
    """Status and error code that every request gets, instead of an answer."""

    def answer(self, path: str, body: bytes) -> tuple[int, str, Any]:
        """Status, error code, and JSON or a file's content."""
        if self.refuse is not None:
            return (*self.refuse, {"error": self.refuse[1]})
        api, resolve = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if not path.startswith((api, resolve)):
            return 404, "RepoNotFound", {"error": "Repository not found"}
        if path.startswith(resolve):
            content = self.files.get(path.removeprefix(resolve).partition("/")[2])
            return (404, "EntryNotFound", {}) if content is None else (200, "", content)
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.files.items()
        ]
        if path.startswith(f"{api}/tree/"):
            return 200, "", entries
        if path.startswith(f"{api}/paths-info/"):
            wanted = json.loads(body)["paths"]
            return 200, "", [entry for entry in entries if entry["path"] in wanted]
        if re.fullmatch(rf"{api}(/revision/(main|{REVISION}))?", path) is None:
            return 404, "RevisionNotFound", {"error": "Invalid rev id"}
        names = [{"rfilename": name} for name in self.files]
        about = {"id": self.name, "sha": REVISION, "siblings": names, "private": False}
        return 200, "", {**about, "tags": [], "downloads": 0, "likes": 0, "gated": False}


@contextmanager
def dataset_hub(hub: DatasetHub) -> Iterator[DatasetHub]:
    """The Hub, listening on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.paths.append(path)
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            status, code, content = hub.answer(path, body)
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
            self._send(status, code, content)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def _send(self, status: int, code: str, content: bytes) -> None:
            total = len(content)
            part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["range"] or "")
            if part is not None and status == 200:
                status, start = 206, int(part[1])
                content = content[start : int(part[2]) + 1 if part[2] else None]
            self.send_response(status)
            if status == 206:
                end = start + len(content) - 1
                self.send_header("content-range", f"bytes {start}-{end}/{total}")
            if code:
                self.send_header("x-error-code", code)
            self.send_header("x-repo-commit", REVISION)
            self.send_header("etag", '"0000"')
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    with listening(Handler) as hub.url:
        yield hub
