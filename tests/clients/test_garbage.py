"""What a row leaves behind when it is done: nothing, without the garbage collector's help.

A full collection stops everything, and comes the oftener the more outlives its request.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import aiohttp
import httpx2
import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.transport import Exchange
from distilabel_endpoints._engine.evidence import Tries
from distilabel_endpoints._engine.in_flight import Seat
from distilabel_endpoints.records import Request
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

ROWS, AT_ONCE = 200, 4
TIMERS = 110
"""asyncio forgets cancelled timers, and the contexts they keep, once there are more than 100."""

OF_A_ROW = (Request, Tries, httpx2.Request, httpx2.Response, aiohttp.ClientResponse)
OF_A_CONTEXT = (Seat, Exchange)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The collector is off, and everything that was there before is out of its sight."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("faults", [(), (Fault(Respond(422), every=2),)], ids=["well", "refused"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("use_openai_client", [False, True], ids=["hub", "openai"])
def test_nothing_of_a_row_waits_for_the_collector(
    simulated_endpoint: Callable[..., SimulatedEndpoint],
    *,
    use_openai_client: bool,
    stream: bool,
    faults: tuple[Fault, ...],
) -> None:
    """However many rows were sent, what is left is what open connections and timers remember."""
    with InferenceEndpointsLLM(
        base_url=simulated_endpoint(faults=faults).url,
        use_openai_client=use_openai_client,
        stream=stream,
        max_concurrency=AT_ONCE,
    ) as llm:
        llm.generate([[{"role": "user", "content": f"Row {n}"}] for n in range(ROWS)])
        kinds = Counter(type(each) for each in gc.get_objects())
    assert all(kinds[kind] <= 2 * AT_ONCE for kind in OF_A_ROW), kinds
    assert all(kinds[kind] <= AT_ONCE + TIMERS for kind in OF_A_CONTEXT), kinds
