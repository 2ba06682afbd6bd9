"""The whole product on virtual time: the class as users make it, its engine thread, both clients.

Only three things are not the real ones: the clock, which jumps to the next timer as soon as
nothing is left to do; the sockets, which are in memory; and names, which are not looked up. The
simulated endpoint is served on the same loop, so both sides share the clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Unpack

import async_solipsism
import httpx2
import pytest
from anyio.from_thread import BlockingPortalProvider
from async_solipsism.selector import Selector

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients import transport
from distilabel_endpoints._engine import loop as portal
from distilabel_endpoints.testing import LoopEndpoint, serve
from distilabel_endpoints.testing.settings import SettingsChanges
from virtual import TRUST, Library, VirtualConnector

__all__ = ["Stage", "open_stage"]

_GRACE = 0.0005
"""Real seconds in which another thread may hand something over before the clock jumps."""


class _WakeableSelector(Selector):  # type: ignore[misc]
    """Lets other threads in: with nothing to wait for but them, it waits for them."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.woken = threading.Event()

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.woken.wait(None if timeout is None else _GRACE):
            self.woken.clear()
        else:
            self.clock.advance(timeout)
        return []


class _SharedLoop(async_solipsism.EventLoop):  # type: ignore[misc]
    """A virtual loop that other threads may call in to."""

    def __init__(self) -> None:
        super().__init__()
        clock: Any = self._selector.clock
        self._selector: Any = _WakeableSelector(clock)

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *arguments: Any, context: Any = None
    ) -> Any:
        handle = self.call_soon(callback, *arguments, context=context)
        self._selector.woken.set()
        return handle


@dataclass(frozen=True, slots=True)
class Stage:
    """An LLM that is loaded, the endpoint it talks to, and the clock they share."""

    llm: InferenceEndpointsLLM
    endpoint: LoopEndpoint

    @property
    def now(self) -> float:
        """Virtual seconds since the loop began."""
        return self.llm.engine().loop.time()

    @property
    def requests(self) -> int:
        """Generations that were asked for, as the endpoint counted them."""
        return len(self.endpoint.generations)


@contextmanager
def open_stage(
    monkeypatch: pytest.MonkeyPatch,
    library: Library,
    fields: dict[str, Any] | None = None,
    **changes: Unpack[SettingsChanges],
) -> Iterator[Stage]:
    """The documented class, talking through `library` to an endpoint with these settings.

    Args:
        fields: of the LLM, over `base_url` and the client's choice.
    """
    provider = BlockingPortalProvider("asyncio", {"loop_factory": _SharedLoop})
    monkeypatch.setattr(portal._Current, "process", portal._Process(provider))
    # Reading the system's certificates costs more than a whole run here.
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: TRUST)
    monkeypatch.setattr(
        transport, "_open_connector", lambda context: VirtualConnector(limit=0, ssl=context)
    )
    with (
        provider as entered,
        entered.wrap_async_context_manager(serve(port=8000, **changes)) as endpoint,
        InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=library == "openai", **(fields or {})
        ) as llm,
    ):
        yield Stage(llm, endpoint)
