"""What the tests of targets share: tokens, models, a deployment, a gateway below a path."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from distilabel_endpoints.testing import Deployment, SimulatedEndpoint, Token
from listening import listening

Start = Callable[..., SimulatedEndpoint]
GOOD, POOR = "hf_good", "hf_poor"
TOKENS = (Token(GOOD, user="ada", orgs=("lab",)), Token(POOR, user="bob", inference=False))
HELLO = [{"role": "user", "content": "Hello world!"}]


def deployed(start: Start, state: str = "running", **changes: Any) -> SimulatedEndpoint:
    """A dedicated endpoint `ada/mine`."""
    options = {
        name: changes.pop(name) for name in ("wake_seconds", "wake_fails") if name in changes
    }
    deployment = Deployment("mine", namespace="ada", state=state, **options)  # type: ignore[arg-type]
    settings = {"flavor": "vllm", "model": "org/open", "tokens": TOKENS, **changes}
    return start(deployment=deployment, **settings)


def tokens_sent(endpoint: SimulatedEndpoint) -> set[str | None]:
    """The credentials that the generating requests carried."""
    return {record.headers.get("authorization") for record in endpoint.generations}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said at WARNING through the logger `distilabel_endpoints`."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "distilabel_endpoints" and record.levelno == logging.WARNING
    ]


class _Prefixed(BaseHTTPRequestHandler):
    """Serves another server below a path, as a gateway or vLLM's `--root-path` does."""

    prefix = ""
    target = ""

    def do_GET(self) -> None:
        self._forward(None)

    def do_POST(self) -> None:
        self._forward(self.rfile.read(int(self.headers["Content-Length"])))

    def _forward(self, body: bytes | None) -> None:
        if not self.path.startswith(self.prefix):
            self.send_error(404)
            return
        url = self.target + self.path.removeprefix(self.prefix)
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as response:
                status, answer = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, answer = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@contextmanager
def below_a_prefix(
    endpoint: SimulatedEndpoint, prefix: str = "/team/llm", path: str = ""
) -> Iterator[str]:
    """The URL of a gateway that serves `endpoint` below a path, and nothing elsewhere.

    Args:
        endpoint: what is served.
        prefix: the gateway's path.
        path: what stands in its place at the endpoint.
    """
    handler = type("Prefixed", (_Prefixed,), {"target": endpoint.url + path, "prefix": prefix})
    with listening(handler) as url:
        yield f"{url}{prefix}"
