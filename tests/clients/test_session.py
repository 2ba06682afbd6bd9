"""The session that client libraries send through: short ways that change nothing that is sent."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from distilabel_endpoints._clients.transport import Exchange, open_session
from distilabel_endpoints.testing import serve
from virtual import TRUST, VirtualConnector, run_virtually

URL = "http://127.0.0.1:8000/v1/chat/completions"
FORM = "multipart/form-data; boundary=z"
BODY = {"messages": [{"role": "user", "content": "Grüße 😀"}], "temperature": 0.5}
REQUESTS: list[dict[str, Any]] = [
    {"url": URL, "json": BODY, "headers": {"x-a": "1"}},
    {"url": URL, "json": [], "headers": {"x-a": "1"}},
    {"url": URL, "content": b"{}", "headers": {"x-a": "1"}},
    {"url": URL, "content": b"{}", "headers": [("x-a", "1"), ("x-a", "2")]},
    {"url": f"{URL}?a=b", "json": BODY, "headers": {"x-a": "1"}},
    {"url": httpx2.URL(URL), "json": BODY, "headers": {"X-A": "1", "content-type": "text/plain"}},
    {"url": URL, "json": BODY, "headers": {"x-a": "1"}, "params": {"c": "d"}},
    {"url": URL, "data": {"e": "f"}},
    {
        "url": URL,
        "files": {"g": b"h"},
        "headers": {"content-type": FORM},
    },
    {"url": URL, "json": BODY, "cookies": {"i": "j"}},
    {"url": URL},
]


def everything(request: httpx2.Request) -> tuple[Any, ...]:
    """All of it, but what a transport adds by itself."""
    headers = request.headers.copy()
    for name in ("host", "content-length"):
        headers.pop(name, None)
    return request.method, request.url, sorted(headers.multi_items()), request.read()


def test_requests_are_those_that_httpx2_builds() -> None:
    """Whatever was built before, and however often."""
    session, plain = open_session(URL, None, {}, trust=TRUST), httpx2.AsyncClient()
    for arguments in [*REQUESTS, *reversed(REQUESTS), *REQUESTS]:
        built = session.build_request("POST", **arguments)
        assert everything(built) == everything(plain.build_request("POST", **arguments)), arguments


def test_each_request_has_its_own_headers() -> None:
    """One that was changed after it was built is sent as changed, and the next one as built."""

    async def sent() -> list[tuple[str | None, str | None]]:
        connector = VirtualConnector(limit=0)
        async with serve(port=8000) as endpoint:
            session = open_session(
                endpoint.url, None, {}, trust=TRUST, connector=lambda _: connector
            )
            for more in (None, "1", None):
                request = session.build_request("POST", URL, json=BODY, headers={"x-a": "2"})
                if more is not None:
                    request.headers["x-more"] = more
                with Exchange():
                    await session.send(request)
            await session.aclose()
            await connector.close()
            headers = [entry.headers for entry in endpoint.requests]
        return [(one.get("x-a"), one.get("x-more")) for one in headers]

    assert run_virtually(sent()) == [("2", None), ("2", "1"), ("2", None)]


def test_a_closed_session_sends_nothing() -> None:
    """Closing is for good, also if nothing was sent before."""

    async def send() -> None:
        session = open_session(URL, None, {}, trust=TRUST)
        await session.aclose()
        await session.post(URL, json=BODY)

    with pytest.raises(RuntimeError, match="closed"):
        run_virtually(send())
