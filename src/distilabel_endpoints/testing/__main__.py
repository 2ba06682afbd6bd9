"""`python -m distilabel_endpoints.testing`: a simulated endpoint as a separate process.

Prints one JSON line `{"url": ...}` when it listens, and another with its counters and latencies
when SIGTERM or SIGINT ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import asdict, replace
from typing import Any

from distilabel_endpoints.testing.endpoint import serve
from distilabel_endpoints.testing.endpoint_settings import (
    FLAVORS,
    Latency,
    Lengths,
    Limits,
    Settings,
)
from distilabel_endpoints.testing.servers import SERVERS

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distilabel_endpoints.testing", description=__doc__
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 (default): any free one")
    add("--server", choices=sorted(SERVERS), help="one of the nine built-in servers")
    add("--flavor", choices=FLAVORS, default="openai")
    add("--model", default="simulated-model")
    add("--seed", type=int, default=0)
    add("--slots", type=int, help="requests generated at once; default: any number")
    add("--queue", type=int, help="requests that may wait; default: any number")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="mean")
    add("--sigma", type=float, default=0.0, help="of a lognormal latency; 0 (default): constant")
    add("--per-token", type=float, default=0.0, metavar="SECONDS")
    add("--tokens", type=float, default=16.0, help="mean length of answers")
    add("--requests-per-minute", type=float)
    add("--random-refusals", type=float, default=0.0, metavar="CHANCE")
    add("--log", action="store_true", help="keep a record of every request")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    if options.server:
        return replace(SERVERS[options.server], model=options.model, seed=options.seed)
    return Settings(
        flavor=options.flavor,
        model=options.model,
        seed=options.seed,
        slots=options.slots,
        latency=Latency(options.latency, sigma=options.sigma, per_token=options.per_token),
        lengths=Lengths(options.tokens),
        limits=Limits(
            queue=options.queue,
            requests_per_minute=options.requests_per_minute,
            random_refusals=options.random_refusals,
        ),
        log=options.log,
    )


async def _run(settings: Settings, port: int) -> dict[str, Any]:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serve(settings, port=port) as endpoint:
        _say({"url": endpoint.url})
        await stopped.wait()
        return {**asdict(endpoint.statistics()), "latencies": endpoint.latencies}


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = _parser().parse_args(arguments)
    _say(asyncio.run(_run(_settings(options), options.port)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
