"""The broken endpoints, one for each case, and one worker that asks them all at once."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trustme

from benchmarks.environments import python_of
from benchmarks.reliability.matrix import Case, cases
from benchmarks.tables import size
from distilabel_endpoints.testing import (
    Fault,
    LoopEndpoint,
    RequestRecord,
    Settings,
    Simulation,
    serve,
)
from distilabel_endpoints.testing.app import listening

__all__ = ["CONTENDERS", "Contender", "Finding", "Report", "measure"]

WORKER: Final = Path(__file__).with_name("worker.py")
TOKEN: Final = "hf_CANARY0123456789abcdefghijklmnop"
PROMPT: Final = "The prompt that nobody else may see"
ANSWER: Final = "The right answer."
TIMEOUT: Final = 3
"""Seconds per attempt, where a client has such a setting; 50 was distilabel 1.1's."""
WAIT_READY: Final = 20.0
"""Seconds that our clients wait for an endpoint that is away; 900 without being told."""
DEADLINE: Final = size(75.0, 10.0)
AT_ONCE: Final = 3
_OTHER_HOST: Final = "127.0.0.2"
_LINE: Final = 2**24


@dataclass(frozen=True, slots=True)
class Contender:
    """A client that is measured. `environment` is one of `benchmarks.environments`, or ours."""

    key: str
    name: str
    environment: str | None = None

    def python(self) -> Path:
        return python_of(self.environment) if self.environment else Path(sys.executable)


_UPSTREAM: Final = "distilabel-1.5.3"
CONTENDERS: Final = (
    Contender("ours-hub", "ours, hub client"),
    Contender("ours-openai", "ours, openai client"),
    Contender("stock-hub", "`AsyncInferenceClient`"),
    Contender("stock-openai", "`AsyncOpenAI`, 6 retries"),
    Contender("upstream-endpoints", "distilabel 1.5.3 `InferenceEndpointsLLM`", _UPSTREAM),
    Contender("upstream-openai", "distilabel 1.5.3 `OpenAILLM`", _UPSTREAM),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one case ended for one client, as the client and as the endpoint saw it."""

    case: Case
    outcome: str
    error: str
    requests: int
    size: int
    """Characters of what was taken for the answer."""
    leaks: dict[str, list[str]]
    sent_on: tuple[str, ...] = ()
    """What reached the other host: `prompt`, `token`, or just a `request`."""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one client, and the versions of what it is made of."""

    contender: Contender
    findings: tuple[Finding, ...]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Stand:
    """A case, and the endpoint that plays it; `None` where there is none to play it."""

    case: Case
    url: str
    endpoint: LoopEndpoint | None


def _settings(*faults: Fault) -> Settings:
    return Settings(flavor="tgi", reply=lambda _: ANSWER, faults=faults)


def _untrusted() -> ssl.SSLContext:
    """A server's context with a certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@asynccontextmanager
async def _stand(case: Case) -> AsyncIterator[_Stand]:
    if case.place == "nowhere":
        yield _Stand(case, "https://no-such-host.invalid", None)
    elif case.place == "untrusted":
        simulation = Simulation(_settings())
        async with listening(simulation, "127.0.0.1", tls=_untrusted()) as listener:
            endpoint = LoopEndpoint(simulation, "127.0.0.1", listener)
            yield _Stand(case, f"https://127.0.0.1:{endpoint.port}", endpoint)
    else:
        assert case.action is not None
        async with serve(_settings(Fault(case.action, times=case.times))) as endpoint:
            yield _Stand(case, endpoint.url, endpoint)


async def _lines(contender: Contender, urls: Sequence[str]) -> dict[int | None, dict[str, Any]]:
    """What the worker says, by the number of the case; `None` are its versions."""
    job = {
        "client": contender.key,
        "token": TOKEN,
        "prompt": PROMPT,
        "answer": ANSWER,
        "timeout": TIMEOUT,
        "wait_ready": WAIT_READY,
        "deadline": DEADLINE,
        "urls": urls,
    }
    worker = await asyncio.create_subprocess_exec(
        await asyncio.to_thread(contender.python),
        WORKER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LINE,
    )
    out, _ = await worker.communicate(json.dumps(job).encode())
    said = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    return {line["case"]: line for line in said}


def _unfinished(records: Sequence[RequestRecord]) -> str:
    """`hung` where the last request alone took half of the time, else it `waits` between them."""
    last = records[-1] if records else None
    if last is None or last.end is None:
        return "waits"
    return "hung" if last.end - last.arrival > DEADLINE / 2 else "waits"


def _sent_on(case: Case, elsewhere: LoopEndpoint) -> tuple[str, ...]:
    status = case.name[:3]
    arrived = [r for r in elsewhere.requests if r.query == f"status={status}"]
    if case.group != "elsewhere" or not arrived:
        return ()
    prompt = any(PROMPT in json.dumps(r.body) for r in arrived if r.body)
    token = any(TOKEN in value for r in arrived for value in r.headers.values())
    return tuple(["prompt"] * prompt + ["token"] * token) or ("request",)


def _finding(stand: _Stand, said: dict[str, Any] | None, elsewhere: LoopEndpoint) -> Finding:
    line = said or {"outcome": "died"}
    records = stand.endpoint.generations if stand.endpoint else ()
    outcome = line["outcome"]
    return Finding(
        case=stand.case,
        outcome=_unfinished(records) if outcome == "unfinished" else outcome,
        error=line.get("error", ""),
        requests=len(records),
        size=line.get("size", 0),
        leaks=line.get("leaks", {}),
        sent_on=_sent_on(stand.case, elsewhere),
    )


async def measure(contender: Contender) -> Report:
    """Every case through one client, all at once; takes a little more than `DEADLINE`."""
    async with AsyncExitStack() as stack:
        other = Settings(flavor="tgi", reply=lambda _: "An answer from elsewhere.")
        elsewhere = await stack.enter_async_context(serve(other, host=_OTHER_HOST))
        stands = [await stack.enter_async_context(_stand(one)) for one in cases(elsewhere.url)]
        said = await _lines(contender, [stand.url for stand in stands])
        found = [_finding(stand, said.get(n), elsewhere) for n, stand in enumerate(stands)]
    return Report(contender, tuple(found), said.get(None, {}).get("versions", {}))
