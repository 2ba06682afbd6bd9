"""A token and a prompt that are looked for everywhere, under every fault of the endpoint.

What the endpoint echoes is the worst case: it has both, and says them back.
"""

from __future__ import annotations

import asyncio
import logging
import pickle  # noqa: TID251 - dumped only, to look at the bytes
import random
import ssl
from collections.abc import Iterator
from typing import get_args

import pytest
from canaries import CUT, ECHO, PROMPT, TOKEN, everything_of

from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints._engine.pool import Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.errors import GenerationError, RunError
from distilabel_endpoints.records import Answer, Failure, Request
from distilabel_endpoints.testing import (
    Action,
    BreakStream,
    Drip,
    Fault,
    Flood,
    Garble,
    Hang,
    Latency,
    Pause,
    Recast,
    Refuse,
    Reset,
    Respond,
    Revoke,
    Rewrite,
    SpendCredits,
    Throttle,
    Truncate,
    edits,
    serve,
)
from virtual import Library, VirtualConnector, open_client, run_virtually

TRUST = ssl.create_default_context()
STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 424, 429, 500, 501, 502, 503, 504)
FAULTS: dict[str, Action] = {
    **{f"echoed {status}": Respond(status, ECHO) for status in (*STATUSES, 529)},
    "echoed by a page": Respond(200, f"<title>{TOKEN} {PROMPT}</title>", content_type="text/html"),
    "echoed as text": Respond(400, f"{TOKEN}\n{PROMPT}", content_type="text/plain"),
    "echoed in a 200": Rewrite(edits.error_body(400, f"{TOKEN} {PROMPT}")),
    "echoed in a header": Respond(
        400, "no", headers=(("x-request-id", TOKEN), ("x-echo", PROMPT), ("server", TOKEN))
    ),
    "echoed in a place to go": Respond(
        307, headers=(("Location", f"http://{TOKEN}:x@elsewhere.example/?token={TOKEN}"),)
    ),
    "echoed in an encoding": Respond(200, b"x", headers=(("Content-Encoding", TOKEN),)),
    "own words": Respond(400),
    "throttled": Throttle(1.0),
    "hang": Hang(),
    "reset": Reset(),
    "reset in the body": Reset("body"),
    "refuse": Refuse(5.0),
    "flood": Flood(20_000_000),
    "truncate": Truncate(),
    "drip": Drip(0.0),
    "no choices": Rewrite(edits.no_choices),
    "truncated json": Garble(edits.truncated_json),
    "stream cut": BreakStream("cut"),
    "error in a stream": BreakStream("error"),
    "another status": Recast(203),
    "whole to a stream": Recast(whole=True),
    "pause": Pause(),
    "revoke": Revoke(),
    "spent": SpendCredits(),
}


class Listening(logging.Handler):
    """Keeps every record of every logger, as it would be written and as it was given."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.heard: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = f"{self.format(record)} {record.args!r} {vars(record)!r}"
        self.heard.append((record.name, record.levelno, said))


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Everything is logged, down to the last byte that a library cares to log."""
    import huggingface_hub.utils.logging  # noqa: F401 - sets its own level when imported

    handler, root = Listening(), logging.getLogger()
    names = (
        "httpx2",
        "httpcore2",
        "aiohttp",
        "openai",
        "huggingface_hub",
        "asyncio",
        "distilabel_endpoints",
    )
    loggers = [root, *map(logging.getLogger, names)]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for logger, level, propagate in before:
        logger.setLevel(level)
        logger.propagate = propagate


def said_of(failure: Failure) -> str:
    """A failure in every form in which it can leave the process."""
    error = GenerationError(failure)
    pickled = pickle.dumps(error) + pickle.dumps(failure)
    return f"{failure!r} {failure.describe()} {error!r} {error} {pickled!r}"


async def met(library: Library, action: Action, *, stream: bool) -> list[str]:
    """All that is shown of four rows that meet a fault at each of their attempts."""
    fault = Fault(action)
    connector = VirtualConnector(limit=0)
    shown: list[str] = []
    async with serve(port=8000, faults=(fault,), latency=Latency(0.1)) as endpoint:
        session = open_session(
            endpoint.url, TOKEN, {"X-Key": TOKEN}, trust=TRUST, connector=lambda _: connector
        )
        client = open_client(library, session, endpoint)
        rng, loop = random.Random(0), asyncio.get_running_loop()
        pool = Pool.of_one(
            client,
            limiter=Limiter(LimiterSettings(), rng=rng, now=loop.time()),
            policy=RetryPolicy(RetrySettings(wait_ready=30.0), rng=rng),
        )
        scheduler = Scheduler(pool, attempt_timeout=5.0)
        messages = [{"role": "user", "content": PROMPT}]

        async def work(row: int) -> Answer | Failure:
            return await scheduler.complete(Request(ordinal=row, messages=messages, stream=stream))

        def deliver(outcome: Answer | Failure) -> None:
            if isinstance(outcome, Failure):
                shown.append(said_of(outcome))

        try:
            async with asyncio.timeout(200):
                await scheduler.drive(range(4), work, deliver)
        except RunError as error:
            shown += [f"{error!r} {error} {pickle.dumps(error)!r}", everything_of(error)]
            shown.append(said_of(error.failure))
        except TimeoutError as error:
            assert isinstance(action, Throttle) or getattr(action, "status", 0) in {429, 529}
            shown.append(str(error))
        assert endpoint.generations[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert CUT in str(endpoint.generations[0].body)
        shown += [repr(client), repr(vars(client)), repr(session), repr(scheduler.statistics())]
        await scheduler.aclose()
        await connector.close()
    return shown


@pytest.mark.promise("S1")
@pytest.mark.promise("S2")
@pytest.mark.parametrize("library", get_args(Library))
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_brings_a_canary_out(
    library: Library, name: str, listening: Listening, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither token nor prompt: failures, exceptions with their frames, pickles, logs, streams."""
    for stream in (False, True):
        shown = run_virtually(met(library, FAULTS[name], stream=stream))
        for text in [*shown, *capfd.readouterr()]:
            assert TOKEN not in text
            assert CUT not in text
    assert listening.heard
    for logger, level, text in listening.heard:
        assert TOKEN not in text, logger
        # What a client library writes at DEBUG is the request, which is what DEBUG is for.
        foreign = logger.split(".")[0] != "distilabel_endpoints" and level <= logging.DEBUG
        assert foreign or CUT not in text, logger


def test_every_kind_of_fault_is_met() -> None:
    """A new action of the simulated endpoint cannot be forgotten."""
    assert {type(action) for action in FAULTS.values()} == set(get_args(Action))
