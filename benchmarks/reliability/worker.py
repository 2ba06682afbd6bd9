"""Sends one conversation to each of many broken endpoints, through one client.

Run as a script by the interpreter of whatever environment the client lives in, so it imports
nothing of ours but that client. The job comes as JSON on stdin; each endpoint's outcome goes out as
a line of JSON when it is known, the versions of the libraries as the last one.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import os
import pickle  # noqa: TID251 - a worker of another process would get the exception pickled
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

Ask = Callable[[], Awaitable[Any]]
Open = Callable[[SimpleNamespace, str], Awaitable[Ask]]
"""Makes a client ready, which no deadline bounds, and gives back what asks it."""
_STOCK_ERRORS = {
    "huggingface_hub.errors": ("HfHubHTTPError", "InferenceTimeoutError"),
    "openai": ("OpenAIError",),
    "distilabel_endpoints.errors": ("DistilabelError",),
}

_LIBRARIES = ("huggingface_hub", "openai", "distilabel")


class ReportedError(Exception):
    """A failure that came as a value beside its row; its argument is that value."""


class MarkedText(str):
    """A text of which the client itself says that it is not all of what the server meant."""

    __slots__ = ()


def messages(job: SimpleNamespace) -> list[dict[str, str]]:
    return [{"role": "user", "content": job.prompt}]


def ours(*, use_openai_client: bool) -> Open:
    async def open_ours(job: SimpleNamespace, url: str) -> Ask:
        module = importlib.import_module("distilabel_endpoints.llms.huggingface")
        llm = module.InferenceEndpointsLLM(
            base_url=url,
            api_key=job.token,
            use_openai_client=use_openai_client,
            timeout=job.timeout,
            wait_ready=job.wait_ready,
        )
        await asyncio.to_thread(llm.load)

        async def ask() -> Any:
            output = await llm.agenerate_output(messages(job))
            if output["errors"][0] is not None:
                raise ReportedError(output["errors"][0])
            text = output["generations"][0]
            return MarkedText(text) if output.get("utf8_replaced") else text

        return ask

    return open_ours


async def stock_hub(job: SimpleNamespace, url: str) -> Ask:
    module = importlib.import_module("huggingface_hub")
    client = module.AsyncInferenceClient(base_url=url, token=job.token)

    async def ask() -> Any:
        completion = await client.chat_completion(messages=messages(job), max_tokens=128)
        return completion.choices[0].message.content

    return ask


async def stock_openai(job: SimpleNamespace, url: str) -> Ask:
    module = importlib.import_module("openai")
    client = module.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=job.token, max_retries=6, timeout=job.timeout
    )

    async def ask() -> Any:
        completion = await client.chat.completions.create(
            model="tgi", messages=messages(job), max_tokens=128
        )
        return completion.choices[0].message.content

    return ask


def upstream(name: str) -> Open:
    async def open_upstream(job: SimpleNamespace, url: str) -> Ask:
        module = importlib.import_module("distilabel_endpoints.models.llms")
        more = {"model": "tgi", "timeout": job.timeout} if name == "OpenAILLM" else {}
        place = f"{url}/v1" if more else url
        llm = getattr(module, name)(base_url=place, api_key=job.token, **more)
        llm.load()

        async def ask() -> Any:
            return (await llm.agenerate(input=messages(job)))["generations"][0]

        return ask

    return open_upstream


CLIENTS: dict[str, Open] = {
    "ours-hub": ours(use_openai_client=False),
    "ours-openai": ours(use_openai_client=True),
    "stock-hub": stock_hub,
    "stock-openai": stock_openai,
    "upstream-endpoints": upstream("InferenceEndpointsLLM"),
    "upstream-openai": upstream("OpenAILLM"),
}


def is_typed(error: BaseException) -> bool:
    """Whether it is of the client library's own kind, and not of something below it."""
    for module, names in _STOCK_ERRORS.items():
        loaded = sys.modules.get(module)
        if any(isinstance(error, getattr(loaded, name, ())) for name in names):
            return True
    return False


def frames_below(error: BaseException) -> str:
    """Its traceback with the values of all locals, without the frames of this file."""
    shown, seen = [], set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending += [one.__cause__, one.__context__]
        told = traceback.TracebackException.from_exception(one, capture_locals=True)
        kept = [frame for frame in told.stack if frame.filename != __file__]
        shown += traceback.StackSummary.from_list(kept).format()
        shown += [repr(one), str(one), repr(getattr(one, "__notes__", ""))]
    return "\n".join(shown)


def pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # noqa: BLE001 - what cannot be pickled leaks nothing that way
        return b""


def leaks(job: SimpleNamespace, error: BaseException) -> dict[str, list[str]]:
    """Where the secret and the prompt can be read in what was raised."""
    shown, packed = frames_below(error), pickled(error)
    found: dict[str, list[str]] = {}
    for what, word in (("token", job.token), ("prompt", job.prompt)):
        places = [("traceback", word in shown), ("pickle", word.encode() in packed)]
        found[what] = [place for place, is_there in places if is_there]
    return found


def failed(job: SimpleNamespace, error: BaseException) -> dict[str, Any]:
    if isinstance(error, ReportedError):
        error = error.args[0]
    return {
        "outcome": "typed" if is_typed(error) else "foreign",
        "error": type(error).__name__,
        "said": str(error).replace(job.token, "(token)")[:200],
        "leaks": leaks(job, error),
    }


async def outcome(job: SimpleNamespace, opened: Open, url: str) -> dict[str, Any]:
    deadline = asyncio.timeout(job.deadline)
    try:
        ask = await opened(job, url)
        async with deadline:
            text = await ask()
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what is measured
        late = isinstance(error, TimeoutError) and deadline.expired()
        return {"outcome": "unfinished"} if late else failed(job, error)
    if text is None:
        return {"outcome": "none"}
    if isinstance(text, MarkedText):
        return {"outcome": "marked"}
    return {"outcome": "answered" if text == job.answer else "wrong", "size": len(text)}


async def report(job: SimpleNamespace, opened: Open, index: int, url: str) -> None:
    line = await outcome(job, opened, url)
    print(json.dumps({"case": index, **line}), flush=True)


def versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


async def main() -> None:
    job = SimpleNamespace(**json.load(sys.stdin))
    opened = CLIENTS[job.client]
    await asyncio.gather(*(report(job, opened, n, url) for n, url in enumerate(job.urls)))
    print(json.dumps({"case": None, "versions": versions()}), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)
