"""What one object talks to: the endpoints of its list, resolved, agreed, and opened as one pool.

All of a pool's endpoints serve one model under one name: what is asked of one may be asked of any.
Their servers may differ; a request then carries its options in the words of each.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.loop import Lease, Task
from distilabel_endpoints._engine.pool import Member, Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints._targets.settings import TargetSettings
from distilabel_endpoints._targets.urls import Target, target_of_url
from distilabel_endpoints.errors import ConfigurationError, RunError, run_error
from distilabel_endpoints.records import Client, Failure, Route, Server

__all__ = [
    "check_abilities",
    "check_distinct",
    "dialects",
    "find_endpoints",
    "identity_of",
    "open_lease",
]

ClientHook = Callable[[Client, str], Client]


def check_distinct(urls: Sequence[str]) -> None:
    """A list of URLs names at least one endpoint, and none twice.

    Raises:
        ConfigurationError: it does not.
    """
    if not urls:
        raise ConfigurationError("base_url is an empty list; give at least one URL.")
    seen: dict[str, str] = {}
    for url in urls:
        root = target_of_url(url).root
        if root in seen:
            raise ConfigurationError(
                f"base_url lists one endpoint twice: {seen[root]} and {url}. Keep one."
            )
        seen[root] = url


def find_endpoints(
    named: Sequence[TargetSettings], *, use_openai_client: bool, sends_prompts: bool
) -> tuple[Target, ...]:
    """Every endpoint, found and asked who it is; all serve one model.

    Raises:
        ConfigurationError: what was named does not fit what is there, or the endpoints differ.
        RunError: no request can succeed at one of them; the message says at which.
    """
    # Imported here: the client libraries cost more than the rest of the package together.
    from distilabel_endpoints._targets.connect import route_of

    targets = Task(_resolve_all, named).run()
    endpoints = tuple(
        replace(
            target,
            route=route_of(
                target, use_openai_client=use_openai_client, sends_prompts=sends_prompts
            ),
        )
        for target in targets
    )
    _check_one_model(endpoints)
    return endpoints


async def _resolve_all(named: Sequence[TargetSettings]) -> list[Target]:
    """The first endpoint that cannot be had ends it for all."""
    if named[0].providers:
        from distilabel_endpoints._targets.connect import resolve_providers

        return await resolve_providers(named[0])
    # Not a task group: its error is a group, and the caller wants the endpoint's own.
    tasks = [asyncio.ensure_future(_resolve(settings, len(named))) for settings in named]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _resolve(settings: TargetSettings, count: int) -> Target:
    from distilabel_endpoints._targets.connect import resolve

    try:
        return await resolve(settings)
    except RunError as error:
        if count == 1 or settings.base_url is None:
            raise
        raise run_error(_located(error.failure, target_of_url(settings.base_url).root)) from None


def _located(failure: Failure, root: str) -> Failure:
    if root in failure.message:
        return failure
    return replace(failure, message=f"{root}: {failure.message}")


def identity_of(endpoints: Sequence[Target], *, by_url: bool) -> dict[str, Any]:
    """What a run's answers depend on: the model; if its name is not known, the URLs."""
    first = endpoints[0]
    pooled = None if first.provider is None else first.settings.model_id
    model = pooled or _model_identity(first.model)
    roots = sorted(endpoint.root for endpoint in endpoints)
    urls = roots[0] if len(roots) == 1 else roots
    return {"model": model, "base_url": urls if by_url and not model else None}


def _model_identity(model: str | None) -> str | None:
    """The name that stays when a model's file is moved."""
    return Path(model).name if model and model.endswith(".gguf") else model


def _check_one_model(endpoints: Sequence[Target]) -> None:
    served = {e.root: _model_identity(e.model) for e in endpoints if e.provider is None}
    if len(set(served.values())) > 1:
        shown = ", ".join(f"{root} serves {model or 'no name'}" for root, model in served.items())
        raise ConfigurationError(
            f"The endpoints of base_url do not serve one model: {shown}. Give those that do, or "
            "let the servers call it by one name (vLLM: --served-model-name)."
        )


def check_abilities(endpoints: Sequence[Target], parameters: Mapping[str, Any]) -> None:
    """Every provider of a pool can do what a call asks for.

    Raises:
        ConfigurationError: one cannot; the message names it.
    """
    longest = parameters.get("max_new_tokens") or 0
    for endpoint in endpoints:
        if parameters.get("tools") and "tools" in endpoint.lacks:
            problem = "does not take tools"
        elif endpoint.context is not None and endpoint.context <= longest:
            problem = f"has a context of {endpoint.context:,} tokens"
        else:
            continue
        raise ConfigurationError(
            f"{endpoint.provider} {problem}. Name the other providers, or put it into "
            "generation_kwargs, which leaves that one out of provider='all'."
        )


def dialects(endpoints: Sequence[Target]) -> list[tuple[Route, Server]]:
    """The distinct ones, in the order of the endpoints."""
    return list(dict.fromkeys(endpoint.dialect for endpoint in endpoints))


def open_lease(
    endpoints: Sequence[Target],
    limits: LimiterSettings,
    retries: RetrySettings,
    timeout: float,
    replace_client: Callable[[], ClientHook | None] | None = None,
) -> Lease:
    """The scheduler of these endpoints, shared by all who ask for the same with the same limits.

    Args:
        replace_client: gives what a subclass makes of each client. A scheduler with such clients
            is not shared. It is a weak reference: the lease must not keep its owner.
    """
    from distilabel_endpoints._targets.connect import open_client

    def opened(endpoint: Target) -> Client:
        hook = replace_client and replace_client()
        client = open_client(endpoint)
        return hook(client, endpoint.root) if hook else client

    async def make() -> Scheduler:
        return Scheduler(_open_pool(endpoints, limits, retries, opened), attempt_timeout=timeout)

    owner = replace_client and object()
    return Lease((tuple(endpoints), limits, retries, timeout, owner), make)


def _open_pool(
    endpoints: Sequence[Target],
    limits: LimiterSettings,
    retries: RetrySettings,
    opened: Callable[[Target], Client],
) -> Pool:
    rng, now = random.Random(), asyncio.get_running_loop().time()
    if len(endpoints) == 1:
        only = endpoints[0]
        return Pool.of_one(
            opened(only),
            limiter=Limiter(limits, rng=rng, now=now),
            policy=RetryPolicy(retries, rng=rng),
        )
    # The pool keeps to these for all of them: once for each member would be too often.
    own = replace(limits, requests_per_minute=None, tokens_per_minute=None)
    history, spoken = PoolHistory(retries.retry_burst), dialects(endpoints)

    def member(endpoint: Target) -> Member:
        return Member(
            name=endpoint.name,
            client=opened(endpoint),
            limiter=Limiter(own, rng=rng, now=now),
            policy=RetryPolicy(retries, rng=rng, history=history),
            dialect=spoken.index(endpoint.dialect),
        )

    return Pool([member(endpoint) for endpoint in endpoints], limits, now=now)
