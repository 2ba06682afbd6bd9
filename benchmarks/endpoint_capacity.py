"""How many requests a second the simulated endpoint itself can answer, and what one costs it.

    .venv/bin/python -m benchmarks endpoint_capacity

Made-up bytes over keep-alive connections, one request in flight on each, from a process that does
next to nothing with the answers. A client that gets near this figure measures the endpoint, not
itself: what it costs is then still right, what it takes is not.
"""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

from benchmarks.endpoint import Served, served
from benchmarks.load import conversation
from benchmarks.spent import Stopwatch
from benchmarks.tables import note, print_table, size

CONNECTIONS = (1, 64, 512)
SECONDS = size(5.0, 0.3)


class _Asker(asyncio.Protocol):
    """One connection: sends the same request again whenever an answer is whole."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._got = bytearray()
        self.answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._got.index(b"Content-Length: ") + 16
        length = int(self._got[at : self._got.index(b"\r\n", at)])
        if len(self._got) == head + 4 + length:
            self._got.clear()
            self.answered += 1
            self._transport.write(self._request)

    def close(self) -> None:
        """No more."""
        self._transport.close()


def _request(host: str) -> bytes:
    body = json.dumps(
        {"model": "simulated-model", "messages": conversation(0), "max_tokens": 128}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _ask(url: str, connections: int) -> tuple[float, int]:
    """Answers a second once it runs evenly, and all answers."""
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    loop = asyncio.get_running_loop()
    request = _request(place.netloc)
    opened = [
        await loop.create_connection(lambda: _Asker(request), host, port)
        for _ in range(connections)
    ]
    askers = [asker for _, asker in opened]
    await asyncio.sleep(SECONDS / 5)
    before, started = sum(asker.answered for asker in askers), time.monotonic()
    await asyncio.sleep(SECONDS)
    answered = sum(asker.answered for asker in askers)
    rate = (answered - before) / (time.monotonic() - started)
    for asker in askers:
        asker.close()
    return rate, answered


def measure(endpoint: Served, connections: int) -> tuple[str, ...]:
    """One line of the table."""
    before = endpoint.cpu()
    with Stopwatch() as watch:
        rate, answered = asyncio.run(_ask(endpoint.url, connections))
    note(f"endpoint_capacity: {connections} connections done")
    return (
        str(connections),
        f"{rate:,.0f}",
        f"{1000 * (endpoint.cpu() - before) / answered:.3f}",
        f"{1000 * watch.spent().cpu / answered:.3f}",
    )


def main() -> None:
    """Print the table."""
    heads = ("connections", "requests/s", "CPU ms/request", "of whoever asks")
    with served() as endpoint:
        rows = [measure(endpoint, connections) for connections in CONNECTIONS]
    print_table("the simulated endpoint, answering at once", heads, rows)


if __name__ == "__main__":
    main()
