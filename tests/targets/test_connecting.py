"""Getting a connection: names, authorities, and how long a stream may be silent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.attempt import first_token_seconds
from distilabel_endpoints._clients.hub import HubClient
from distilabel_endpoints._clients.openai import OpenAIClient
from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints.config import ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, FIRST_TOKEN_TIMEOUT
from distilabel_endpoints.errors import ConfigurationError, TargetError
from distilabel_endpoints.records import Client, Failure, Request
from distilabel_endpoints.testing import SimulatedEndpoint
from virtual import TRUST, Library, VirtualConnector, run_virtually

Make = Callable[..., SimulatedEndpoint]
LIBRARIES = get_args(Library)
HELLO = [{"role": "user", "content": "Say hello"}]


class SilentResolver(AbstractResolver):
    """A name server that never answers."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError(host)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_name_that_is_not_looked_up_in_time(library: Library) -> None:
    """Resolving a name is part of connecting, and has no more time than that."""

    async def main() -> None:
        connector = VirtualConnector(limit=0, resolver=SilentResolver())
        url = "http://silent.example:8000"
        session = open_session(url, None, {}, trust=TRUST, connector=lambda _: connector)
        client: Client = (
            HubClient(session, url=f"{url}/v1/chat/completions", model="m")
            if library == "hub"
            else OpenAIClient(session, url=f"{url}/v1", model="m")
        )
        outcome = await client.complete(Request(ordinal=0, messages=HELLO))
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == ("unavailable", "connect_timeout")
        assert asyncio.get_running_loop().time() == pytest.approx(CONNECT_TIMEOUT, abs=1.5)
        await client.aclose()
        await connector.close()

    run_virtually(main())


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_private_authority_is_trusted_when_given(
    simulated_endpoint: Make, tmp_path: Path, use_openai_client: bool
) -> None:
    """`ca_file` adds to what the system trusts; without it the run stops and names it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    url = simulated_endpoint(tls=server).url
    with pytest.raises(TargetError, match="ca_file"):
        InferenceEndpointsLLM(base_url=url, use_openai_client=use_openai_client).load()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with InferenceEndpointsLLM(
        base_url=url, use_openai_client=use_openai_client, ca_file=str(file)
    ) as llm:
        assert llm.generate([[{"role": "user", "content": "Say hello"}]])[0][0]


def test_a_file_that_holds_no_certificate_is_refused(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Before anything is sent, and by its name."""
    file = tmp_path / "authority.pem"
    file.write_text("no certificate")
    endpoint = simulated_endpoint()
    with pytest.raises(ConfigurationError, match=r"authority\.pem"):
        InferenceEndpointsLLM(base_url=endpoint.url, ca_file=str(file)).load()
    assert endpoint.requests == ()


@pytest.mark.parametrize(
    ("attempt", "first_token"),
    [
        (5.0, 5.0),
        (FIRST_TOKEN_TIMEOUT, FIRST_TOKEN_TIMEOUT),
        (ATTEMPT_TIMEOUT, FIRST_TOKEN_TIMEOUT),
        (3600.0, 1800.0),
    ],
)
def test_a_first_token_has_as_long_as_the_attempt_allows(
    attempt: float, first_token: float
) -> None:
    """Half of a long timeout, the default below that, and never longer than the attempt."""
    assert first_token_seconds(attempt) == first_token
