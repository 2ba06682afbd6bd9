"""Lifecycle: threads, sockets and loops come and go without a trace; switches work from outside."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import psutil
import pytest
import trustme
from aiohttp.test_utils import TestClient, TestServer
from virtual_client import run_virtually, virtual_endpoint

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.testing import (
    Fault,
    Hang,
    HubModel,
    Latency,
    Respond,
    Settings,
    SimulatedEndpoint,
    Simulation,
    Token,
    build_app,
    serve,
)

Start = Callable[..., SimulatedEndpoint]


def fetch(url: str) -> int:
    """The status of a blocking GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_it_serves_blocking_code_from_its_own_thread() -> None:
    """Synchronous code may block on it."""
    with SimulatedEndpoint() as endpoint:
        assert endpoint.port > 0
        assert fetch(f"{endpoint.url}/health") == 200


def test_it_serves_from_an_async_context() -> None:
    """The same in `async with`."""

    async def main() -> int:
        async with (
            SimulatedEndpoint() as endpoint,
            aiohttp.ClientSession() as session,
            session.get(f"{endpoint.url}/health") as response,
        ):
            return response.status

    assert asyncio.run(main()) == 200


def test_nothing_is_left_behind() -> None:
    """Neither threads nor sockets after ten endpoints, one of them with a hanging request."""
    process = psutil.Process()
    gc.collect()
    threads, files = threading.active_count(), process.num_fds()
    for _ in range(10):
        with SimulatedEndpoint(faults=(Fault(Hang(), path="*"),)) as endpoint:
            hanging = socket.create_connection(("127.0.0.1", endpoint.port))
            hanging.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            endpoint.wait_for(lambda it: it.statistics().requests == 1)
        hanging.close()
    gc.collect()
    assert threading.active_count() == threads
    assert process.num_fds() <= files + 1


def test_closing_does_not_wait_for_what_runs() -> None:
    """A request of an hour is cut off at once, and marked."""
    with SimulatedEndpoint(latency=Latency(3600)) as endpoint, ThreadPoolExecutor() as pool:
        body = b'{"model":"simulated-model","messages":[{"role":"user","content":"x"}]}'
        request = urllib.request.Request(f"{endpoint.v1_url}/chat/completions", data=body)
        pending = pool.submit(urllib.request.urlopen, request)
        endpoint.wait_for(lambda it: it.in_flight == 1)
        endpoint.close()
        with pytest.raises((ConnectionError, urllib.error.URLError)):
            pending.result(10)
    assert endpoint.in_flight == 0
    assert endpoint.requests[0].status is None


def test_the_log_outlives_the_endpoint() -> None:
    """Closed, it still tells what it saw; closing twice is once."""
    with SimulatedEndpoint() as endpoint:
        fetch(f"{endpoint.url}/health")
    endpoint.close()
    assert [record.path for record in endpoint.requests] == ["/health"]


def test_an_endpoint_runs_once() -> None:
    """Entered again it says so, instead of mixing two runs in one log."""
    with SimulatedEndpoint() as endpoint:
        pass
    with pytest.raises(RuntimeError, match="make another"):
        endpoint.start()


def test_a_taken_port_is_an_error(simulated_endpoint: Start) -> None:
    """At the start, as `OSError`, with no thread left."""
    first = simulated_endpoint()
    threads = threading.active_count()
    with pytest.raises(OSError, match="in use"):
        SimulatedEndpoint(port=first.port).start()
    assert threading.active_count() == threads


def test_connections_can_be_refused_and_accepted_again(simulated_endpoint: Start) -> None:
    """On the same port."""
    endpoint = simulated_endpoint()
    port = endpoint.port
    assert fetch(f"{endpoint.url}/health") == 200
    endpoint.refuse_connections()
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(f"{endpoint.url}/health")
    endpoint.accept_connections()
    endpoint.accept_connections()
    assert endpoint.port == port
    assert fetch(f"{endpoint.url}/health") == 200


def test_connections_can_be_dropped(simulated_endpoint: Start) -> None:
    """An open connection ends; the next one is accepted."""
    endpoint = simulated_endpoint()
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        endpoint.drop_connections()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    assert fetch(f"{endpoint.url}/health") == 200


def test_switches_need_a_running_endpoint() -> None:
    """Before the start there is nothing to close."""
    with pytest.raises(RuntimeError, match="not running"):
        SimulatedEndpoint().refuse_connections()


def test_it_speaks_https_with_the_certificate_it_is_given(simulated_endpoint: Start) -> None:
    """Trusted by who trusts the authority, refused by everybody else; the URLs say so."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    endpoint = simulated_endpoint(tls=server)
    assert endpoint.url.startswith("https://127.0.0.1:")
    with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
        fetch(f"{endpoint.url}/health")
    authority.configure_trust(client)
    with urllib.request.urlopen(f"{endpoint.url}/health", context=client) as response:
        assert response.status == 200


def test_waiting_ends_in_time(simulated_endpoint: Start) -> None:
    """What never comes is a `TimeoutError` that tells the counters."""
    endpoint = simulated_endpoint()
    with pytest.raises(TimeoutError, match="requests=0"):
        endpoint.wait_for(lambda it: it.in_flight == 1, timeout=0.01)


def test_many_threads_may_use_one_endpoint(simulated_endpoint: Start) -> None:
    """Eight threads, four hundred requests, none lost."""
    endpoint = simulated_endpoint()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(fetch, [f"{endpoint.url}/health"] * 400))
    assert statuses == [200] * 400
    assert endpoint.statistics().requests == 400


def test_endpoints_do_not_share_anything(simulated_endpoint: Start) -> None:
    """Two at once: each has its own faults and its own log."""
    one, two = simulated_endpoint(), simulated_endpoint()
    one.add_faults(Fault(Respond(500), path="*"))
    assert (fetch(f"{one.url}/health"), fetch(f"{two.url}/health")) == (500, 200)
    assert (len(one.requests), len(two.requests)) == (1, 1)


def test_addresses_stand_on_one_port(simulated_endpoint: Start) -> None:
    """All parts are below the endpoint's own URL."""
    endpoint = simulated_endpoint()
    addresses = (
        endpoint.v1_url,
        endpoint.hub_url,
        endpoint.router_url,
        endpoint.control_url,
        *endpoint.hugging_face_addresses.values(),
    )
    assert endpoint.url == f"http://127.0.0.1:{endpoint.port}"
    assert all(address.startswith(endpoint.url) for address in addresses)


def test_settings_can_be_given_and_changed() -> None:
    """A `Settings`, single fields, or a `Settings` with changes."""
    base = Settings(flavor="tgi", slots=3)
    assert SimulatedEndpoint(base).settings == base
    assert SimulatedEndpoint(flavor="tgi", slots=3).settings == base
    assert SimulatedEndpoint(base, slots=5).settings == Settings(flavor="tgi", slots=5)


def test_unknown_settings_are_refused() -> None:
    """With the names there are."""
    with pytest.raises(ConfigurationError, match=r"no slot; it has .*slots"):
        SimulatedEndpoint(slot=4)  # type: ignore[call-arg]


@pytest.mark.parametrize("changes", [{"flavor": "gpt"}, {"slots": 0}], ids=str)
def test_senseless_settings_are_refused(changes: dict[str, object]) -> None:
    """A flavor there is not, no slots at all."""
    with pytest.raises(ConfigurationError):
        Settings(**changes)  # type: ignore[arg-type]


def test_settings_hide_their_tokens() -> None:
    """A token's value is in no repr."""
    settings = Settings(tokens=(Token("hf_secret"),), models=(HubModel("a/b"),))
    assert "hf_secret" not in repr(settings)


def test_serve_runs_on_the_callers_loop() -> None:
    """No thread is started; refusing and accepting works there, too."""

    async def main() -> None:
        threads = threading.active_count()
        async with serve() as endpoint, aiohttp.ClientSession() as session:
            assert threading.active_count() == threads
            async with session.get(f"{endpoint.url}/health") as response:
                assert response.status == 200
            await endpoint.refuse_connections()
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"{endpoint.url}/health")
            await endpoint.accept_connections()
            async with session.get(f"{endpoint.url}/health") as response:
                assert response.status == 200

    asyncio.run(main())


def test_an_application_can_be_run_by_anybody() -> None:
    """`build_app` alone, under aiohttp's own test server."""

    async def main() -> None:
        simulation = Simulation(Settings(flavor="llamacpp"))
        async with TestClient(TestServer(build_app(simulation))) as client:
            response = await client.get("/props")
            assert response.status == 200
        assert len(simulation.log.records()) == 1

    asyncio.run(main())


def test_virtual_time_costs_no_real_time() -> None:
    """A day of service in one test."""

    async def main() -> None:
        async with virtual_endpoint(latency=Latency(86_400)) as (_, talker):
            assert (await talker.chat())[0] == 200

    run_virtually(main())
