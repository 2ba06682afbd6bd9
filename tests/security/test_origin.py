"""Where requests go: to the host that was named and no other, and no token in the clear."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yarl
from canaries import PROMPT, TOKEN

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._targets.urls import target_of_url
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

HELLO = [[{"role": "user", "content": PROMPT}]]
"""The input of one row."""


@pytest.fixture
def another(simulated_endpoint: Make) -> Iterator[SimulatedEndpoint]:
    """A host that must not hear of anything."""
    endpoint = simulated_endpoint()
    yield endpoint
    assert endpoint.requests == ()


@pytest.mark.promise("S4")
@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", [None, "*"], ids=["generation", "probe"])
def test_a_redirect_is_not_followed(
    simulated_endpoint: Make,
    another: SimulatedEndpoint,
    status: int,
    path: str | None,
    use_openai_client: bool,
) -> None:
    """Neither token nor prompt goes to the host that a redirect names, which the error names."""
    elsewhere = f"http://localhost:{another.port}/v1/chat/completions"
    moved = Fault(Respond(status, headers=(("Location", elsewhere),)), path=path)
    endpoint = simulated_endpoint(faults=(moved,))
    given: Any = {"base_url": endpoint.url, "api_key": TOKEN}
    llm = InferenceEndpointsLLM(use_openai_client=use_openai_client, **given)
    with closing(llm), pytest.raises(RunError, match="localhost"):
        llm.generate(HELLO)
    assert endpoint.requests


@pytest.mark.promise("S4")
@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_token_that_lies_about_stays_here(
    monkeypatch: pytest.MonkeyPatch, simulated_endpoint: Make, use_openai_client: bool
) -> None:
    """`HF_TOKEN` does not go to a strange `base_url`, though requests without it do."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    endpoint = simulated_endpoint()
    monkeypatch.setenv("http_proxy", endpoint.url)
    monkeypatch.delenv("no_proxy", raising=False)
    given: Any = {"base_url": "http://stranger.example/v1", "timeout": 5.0, "wait_ready": 1.0}
    llm = InferenceEndpointsLLM(use_openai_client=use_openai_client, **given)
    with closing(llm), pytest.warns(UserWarning, match="is not sent to stranger.example"):
        llm.generate(HELLO)
    assert endpoint.requests
    assert not [record for record in endpoint.requests if TOKEN in str(record.headers)]


REFUSED = [
    "http://evil.example",
    "http://evil.example:80/v1",
    "HTTP://EVIL.EXAMPLE",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:80@evil.example/",
    "http://localhost:x@evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://evil.example.",
    "http://evil.example/127.0.0.1",
    "http://evil.example?@127.0.0.1",
    "http://evil.example#@127.0.0.1",
    "http://evil.example\\@127.0.0.1",
    "http://127.0.0.1\\@evil.example",
    "http://[2001:db8::1]",
    "http://[::ffff:8.8.8.8]",
    "http://8.8.8.8",
    "http://10.0.0.1",
    "http://2130706433",
    "http://0x7f.1",
    "http://127。0。0。1",
    "http://①27.0.0.1",
    "http://xn--lcalhost-w7a",
    "http://ⅼocalhost",
]
ACCEPTED = [
    "http://127.0.0.1:8080",
    "http://127.8.8.8/v1",
    "http://localhost:8080/v1",
    "http://LOCALHOST",
    "http://localhost.",
    "http://[::1]:8080",
    "https://evil.example",
    "https://[2001:db8::1]/v1",
]


def is_here(host: str | None) -> bool:
    """Whether a host is this machine, as a resolver would have it at worst."""
    name = (host or "").rstrip(".").lower()
    return name == "localhost" or (bool(name) and ipaddress.ip_address(name).is_loopback)


@pytest.mark.promise("S5")
@pytest.mark.parametrize(
    ("how", "value"),
    [("api_key", TOKEN), ("headers", {"authorization": f"Bearer {TOKEN}"})],
    ids=["api_key", "headers"],
)
@pytest.mark.parametrize("url", REFUSED)
def test_no_token_in_the_clear(url: str, how: str, value: Any) -> None:
    """Plain http to anything but this machine is refused, however it is dressed up."""
    given: Any = {"base_url": url, how: value}
    with pytest.raises(ValueError, match=r"over plain http|base_url") as caught:
        InferenceEndpointsLLM(**given)
    assert TOKEN not in str(caught.value)


@pytest.mark.promise("S5")
@pytest.mark.parametrize("url", ACCEPTED)
def test_all_who_read_a_url_read_the_same_host(url: str) -> None:
    """What was checked is what the libraries connect to."""
    given: Any = {"base_url": url, "api_key": TOKEN}
    InferenceEndpointsLLM(**given)
    root = target_of_url(url).root
    hosts = [urlsplit(root).hostname, httpx2.URL(root).host, yarl.URL(root).host]
    assert len({str(host).rstrip(".").lower() for host in hosts}) == 1
    assert urlsplit(root).scheme == "https" or all(map(is_here, hosts))
