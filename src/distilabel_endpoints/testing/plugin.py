"""The pytest plugin: fixtures that start simulated endpoints and close them after the test.

Loaded by pytest at every start, so it imports nothing of the endpoint before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from distilabel_endpoints.testing.endpoint import SimulatedEndpoint

__all__ = ["simulated_endpoint", "simulated_hugging_face"]


@pytest.fixture
def simulated_endpoint() -> Iterator[Callable[..., SimulatedEndpoint]]:
    """A factory: takes what `SimulatedEndpoint` takes, returns one that is running."""
    from distilabel_endpoints.testing.endpoint import SimulatedEndpoint

    with ExitStack() as stack:

        def start(*args: Any, **changes: Any) -> SimulatedEndpoint:
            return stack.enter_context(SimulatedEndpoint(*args, **changes))

        yield start


@pytest.fixture
def simulated_hugging_face(
    simulated_endpoint: Callable[..., SimulatedEndpoint], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SimulatedEndpoint]:
    """The same factory; `huggingface_hub` then takes the endpoint for the Hub and what it runs."""

    def start(*args: Any, **changes: Any) -> SimulatedEndpoint:
        from huggingface_hub import close_session

        # The process's shared client keeps the proxies of the test that first needed it.
        close_session()
        endpoint = simulated_endpoint(*args, **changes)
        for name, address in endpoint.hugging_face_addresses.items():
            monkeypatch.setattr(name, address)
        return endpoint

    return start
