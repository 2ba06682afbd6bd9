"""A client that keeps to the provider that answered first: one model in one make, one cache."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from distilabel_endpoints.records import Answer, Client, Failure, Request

__all__ = ["StickyClient"]

logger = logging.getLogger("distilabel_endpoints")


class StickyClient:
    """Sends through `client`: one request at a time until one is answered, then to who answered.

    Args:
        client: owned; sends to the router, which chooses.
        model: the repository.
        provider: who has answered before, if anybody has.
    """

    def __init__(self, client: Client, model: str, provider: str | None = None) -> None:
        self._client = client
        self._model = model
        self._provider = provider
        self._first = asyncio.Lock()

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        if self._provider is None:
            async with self._first:
                # Whoever waited here finds a provider, unless the first request failed.
                if self._provider is None:
                    return self._learned(await self._client.complete(request))
        name = f"{self._model}:{self._provider}"
        return await self._client.complete(replace(request, model=name))

    def _learned(self, outcome: Answer | Failure) -> Answer | Failure:
        if isinstance(outcome, Answer) and (who := outcome.provider) is not None:
            self._provider = who
            logger.warning("%s answers from now on (provider='sticky')", who)
        return outcome

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()
