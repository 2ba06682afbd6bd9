"""The few routes of the Hub that taking a dataset needs, on this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from listening import listening

REPOSITORY = "ann/answers"


@dataclass
class UploadHub:
    """What was committed, and how it was asked for."""

    url: str = ""
    refuse: int | None = None
    """The status that every request gets, instead of an answer."""
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    private: bool | None = None
    tokens: set[str | None] = field(default_factory=set)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.private = json.loads(body)["visibility"] == "private"
            return {"url": f"{self.url}/datasets/{REPOSITORY}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            known = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return {"files": [{"path": name, **known} for name in names]}
        assert path == f"/api/datasets/{REPOSITORY}/commit/main", path
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                self.files[value["path"]] = base64.b64decode(value["content"])
        self.commits += 1
        where = f"{self.url}/datasets/{REPOSITORY}/commit/c0ffee"
        return {"success": True, "commitOid": "c0ffee", "commitUrl": where, "hookOutput": ""}


@contextmanager
def upload_hub() -> Iterator[UploadHub]:
    """Such a Hub, listening."""
    hub = UploadHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            hub.tokens.add(self.headers["authorization"])
            status = hub.refuse or 200
            said = {"error": "no right to write"} if hub.refuse else hub.answer(self.path, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with listening(Handler) as hub.url:
        yield hub
