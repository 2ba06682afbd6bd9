"""Stand-ins for xllamacpp that fail in ways the real one rarely does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_MODULE = """
import http.server, os, signal, sys, threading, time, types

class CommonParams:
    def __init__(self):
        self.model = types.SimpleNamespace()
        self.cpuparams = types.SimpleNamespace()

class Health(http.server.BaseHTTPRequestHandler):
    status = 200
    def do_GET(self):
        self.send_response(self.status)
        self.end_headers()
    def log_message(self, *args):
        pass

def listen():
    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]

class Server:
    def __init__(self, parameters):
        {body}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """From now on `xllamacpp.Server(...)` runs `body`, one line of Python, in new processes."""
    (folder / "xllamacpp.py").write_text(_MODULE.format(body=body))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
