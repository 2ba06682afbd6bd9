"""A client that resumes its dedicated endpoint when that is paused, if the user asked for it.

Resuming costs the endpoint's owner money, and somebody paused it: it is not done unasked.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.records import Answer, Client, Failure, Request

__all__ = ["WakingClient"]

logger = logging.getLogger("distilabel_endpoints")

_AGAIN: Final = 60.0
"""Seconds after which an endpoint that is still paused is resumed once more."""


class WakingClient:
    """Sends through `client`.

    Args:
        client: owned.
        target: has the endpoint's name, and the token that may resume it.
    """

    def __init__(self, client: Client, target: Target) -> None:
        self._client = client
        self._target = target
        self._waking: asyncio.Task[None] | None = None
        self._woken_at: float | None = None

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        outcome = await self._client.complete(request)
        if isinstance(outcome, Failure) and outcome.code == "paused":
            self._wake()
        return outcome

    def _wake(self) -> None:
        now = asyncio.get_running_loop().time()
        # Every row in flight comes back as paused; one call is enough for all of them.
        if self._woken_at is not None and now - self._woken_at < _AGAIN:
            return
        if self._waking is None or self._waking.done():
            self._woken_at = now
            # Beside the attempt: its time limit is for an answer, and a resume is not part of it.
            self._waking = asyncio.create_task(self._resume())

    async def _resume(self) -> None:
        from distilabel_endpoints._targets.hub import resume_endpoint

        assert self._target.settings.endpoint_name is not None
        try:
            await resume_endpoint(
                self._target.settings.endpoint_name,
                self._target.settings.endpoint_namespace,
                self._target.token,
            )
        except RunError as error:
            logger.warning("the endpoint cannot be resumed: %s", error)

    async def aclose(self) -> None:
        """Close the client."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)
        await self._client.aclose()
