"""A run as Prometheus text, over HTTP on this machine alone. The names are in docs/events.md.

A name may be added; none is renamed, dropped or given another meaning. No prompt, no answer and no
token of the user's is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress.sinks import Progress, Relay
from distilabel_endpoints.run_state import RunPhase, RunSnapshot

__all__ = ["MeteredProgress", "metrics_text"]

_PREFIX: Final = "distilabel_endpoints_"
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES: Final = (0.5, 0.95, 0.99)
_SECONDS: Final = 5.0


def metrics_text(snapshot: RunSnapshot | None) -> str:
    """The run in Prometheus' text format; nothing before the first snapshot."""
    if snapshot is None:
        return ""
    return "".join(f"{line}\n" for line in _lines(snapshot))


def _lines(s: RunSnapshot) -> Iterator[str]:
    rows = {"ok": s.ok, "failed": s.failed, "skipped": s.skipped}
    yield from _metric(
        "rows", "gauge", "rows that ended, earlier processes included", rows, "state"
    )
    if s.total is not None:
        yield from _metric("input_rows", "gauge", "rows of the input", {"": s.total})
    yield from _metric(
        "in_flight", "gauge", "requests the endpoint is working on", {"": s.in_flight}
    )
    if s.limit is not None:
        yield from _metric("limit", "gauge", "requests that may be in flight", {"": s.limit})
    tokens = {"input": s.run_tokens.input_tokens, "output": s.run_tokens.output_tokens}
    yield from _metric("tokens", "gauge", "tokens of rows that ended", tokens, "direction")
    yield from _metric("rows_per_second", "gauge", "lately", {"": round(s.recent.rows, 3)})
    rate = round(s.recent.output_tokens, 3)
    yield from _metric("output_tokens_per_second", "gauge", "lately", {"": rate})
    retries = {str(kind): number for kind, number in sorted(s.retries.items())}
    yield from _metric("retries_total", "counter", "repeated attempts", retries, "kind")
    waiting = {"": int(s.waiting is not None)}
    yield from _metric("waiting", "gauge", "1 while requests are held back", waiting)
    phases = {str(phase): int(phase is s.phase) for phase in RunPhase}
    yield from _metric("phase", "gauge", "1 for what the run is busy with", phases, "phase")
    yield from _metric("elapsed_seconds", "gauge", "of this process", {"": round(s.elapsed, 3)})
    yield from _latencies(s)


def _metric(
    name: str, kind: str, text: str, values: Mapping[str, float], label: str = ""
) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {text}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for value, number in values.items():
        labels = f'{{{label}="{_escaped(value)}"}}' if label else ""
        yield f"{_PREFIX}{name}{labels} {number}"


def _latencies(snapshot: RunSnapshot) -> Iterator[str]:
    """Summaries, by endpoint and provider."""
    named = (
        ("latency_seconds", "from sending to the end of the answer", "latency"),
        ("first_token_seconds", "to the first token of a stream", "first_token"),
    )
    for name, text, attribute in named:
        yield f"# HELP {_PREFIX}{name} {text}"
        yield f"# TYPE {_PREFIX}{name} summary"
        for (endpoint, provider), served in sorted(snapshot.served.items()):
            histogram = getattr(served, attribute)
            labels = f'endpoint="{_escaped(endpoint)}",provider="{_escaped(provider)}"'
            for quantile in _QUANTILES:
                number = histogram.quantile(quantile)
                if number is not None:
                    yield f'{_PREFIX}{name}{{{labels},quantile="{quantile}"}} {number:.6g}'
            yield f"{_PREFIX}{name}_sum{{{labels}}} {histogram.total:.6g}"
            yield f"{_PREFIX}{name}_count{{{labels}}} {histogram.count}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MeteredProgress(Relay):
    """Shows a run on another display, and as metrics on a port of 127.0.0.1 while it runs.

    Args:
        display: the other one.
        port: 0 for any free one.

    Raises, when entered:
        ConfigurationError: the port is taken.
    """

    def __init__(self, display: Progress, port: int) -> None:
        super().__init__(display)
        self._wanted = port
        self._latest: RunSnapshot | None = None
        self._server: ThreadingHTTPServer | None = None
        self.port: int | None = None
        """Where it listens, once it does."""

    @property
    def interval(self) -> float:
        """The other display's, but at least once a second."""
        return min(self._display.interval, 1.0)

    def update(self, snapshot: RunSnapshot) -> None:
        """See `Progress`."""
        self._latest = snapshot
        super().update(snapshot)

    def __enter__(self) -> Self:
        try:
            self._server = server = ThreadingHTTPServer(
                ("127.0.0.1", self._wanted), _handler(lambda: metrics_text(self._latest))
            )
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"--metrics-port {self._wanted} cannot be used: {error}. Choose another."
            ) from None
        server.daemon_threads = True
        self.port = server.server_port
        threading.Thread(
            target=server.serve_forever, name="distilabel-endpoints-metrics", daemon=True
        ).start()
        super().__enter__()
        self.message(f"metrics: http://127.0.0.1:{self.port}/metrics")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        super().__exit__(exc_type, exc, traceback)


def _handler(text: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers `GET /metrics` and nothing else."""

        timeout = _SECONDS

        def do_GET(self) -> None:
            is_known = self.path == "/metrics"
            body = text().encode() if is_known else b"see /metrics\n"
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Nothing is logged of who reads."""

    return Handler
