"""The road to a host: proxies, hosts that bypass them, certificates of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.proxies import bypasses_proxy, proxy_for, system_trust
from distilabel_endpoints.errors import ConfigurationError, RunError, UnavailableError
from distilabel_endpoints.testing import SimulatedEndpoint

Start = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine's environment says of the road does not count."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("no_proxy", "yes", "no"),
    [
        ("example.com", ["example.com", "a.example.com", "EXAMPLE.com."], ["anexample.com"]),
        (".example.com", ["example.com", "a.example.com"], ["example.org"]),
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com.evil.org"]),
        ("a.example.com, b", ["a.example.com", "b", "c.b"], ["example.com", "ab"]),
        ("a b", ["a", "b"], ["c"]),
        ("*", ["anything", "10.0.0.1", "::1"], []),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "10.example.com"]),
        ("10.0.0.7/8", ["10.1.2.3"], ["11.0.0.1"]),
        ("192.168.1.1", ["192.168.1.1"], ["192.168.1.10"]),
        ("192.168.*", ["192.168.1.1"], ["192.169.1.1"]),
        ("fd00::/8", ["fd12::1"], ["2001:db8::1", "10.0.0.1"]),
        ("[fd12::1]", ["fd12::1", "fd12:0:0::1"], ["fd12::2"]),
        ("http://a.example", ["a.example"], ["b.example"]),
        ("http://a.example:8000/", ["a.example"], ["b.example"]),
        ("http://a.example:80/v1,b", ["b"], ["a.example"]),
        ("[fd00::]/8", ["fd12::1"], ["2001:db8::1"]),
        ("model:8000", ["model"], ["other"]),
        ("10.0.0.7:8000", ["10.0.0.7"], ["10.0.0.8"]),
        ("[fd12::1]:8000", ["fd12::1"], ["fd12::2"]),
        ("model:8001, 10.0.0.7:80", [], ["model", "10.0.0.7"]),
        ("", [], ["a"]),
        (",, ,", [], ["a"]),
        ("10.0.0.0/99,a", ["a"], ["10.0.0.1"]),
    ],
)  # fmt: skip
def test_hosts_that_bypass_a_proxy(no_proxy: str, yes: list[str], no: list[str]) -> None:
    """Names, domains, addresses, networks and ports, as curl, requests and Go take them."""
    assert [host for host in yes if not bypasses_proxy(host, 8000, no_proxy)] == []
    assert [host for host in no if bypasses_proxy(host, 8000, no_proxy)] == []


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://h", None),
        ({"HTTPS_PROXY": PROXY}, "https://h", PROXY),
        ({"https_proxy": PROXY}, "http://h", None),
        ({"http_proxy": "proxy.example:3128"}, "http://h", PROXY),
        ({"ALL_PROXY": PROXY}, "http://h", PROXY),
        ({"all_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "https://h", "http://other:1"),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "h"}, "https://h", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "h:443"}, "https://h", None),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "h:443"}, "http://h", PROXY),
        ({"ALL_PROXY": "socks5://s:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.0.0.1", None),
        ({"ALL_PROXY": PROXY}, "http://localhost:8000", None),
        ({"ALL_PROXY": PROXY}, "http://127.0.0.2:8000", None),
        ({"ALL_PROXY": PROXY}, "http://[::1]:8000", None),
        ({"ALL_PROXY": PROXY}, "http://[fd12::1]:8000", PROXY),
        ({"https_proxy": "https://u:p@secure:1"}, "https://h", "https://u:p@secure:1"),
    ],
)
def test_the_proxy_of_a_host(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheme's own variable, then ALL_PROXY; never for this machine."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize("proxy", ["socks5://u:secret@s:1080", "ftp://p", "http://", "http://p:x"])
def test_a_proxy_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is sent, by its variable and without its password."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=r"ALL_PROXY.*NO_PROXY") as caught:
        InferenceEndpointsLLM(base_url="http://model.invalid").load()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize("with_scheme", [False, True])
def test_requests_go_through_the_proxy(
    with_scheme: bool,
    use_openai_client: bool,
    simulated_endpoint: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every one of them, to a host that only the proxy can reach."""
    proxy = simulated_endpoint(flavor="vllm")
    monkeypatch.setenv("ALL_PROXY", proxy.url if with_scheme else proxy.url.partition("://")[2])
    with InferenceEndpointsLLM(
        base_url="http://model.invalid:8000", use_openai_client=use_openai_client
    ) as llm:
        assert llm.generate([HELLO])[0][0]
    assert {record.headers["host"] for record in proxy.requests} == {"model.invalid:8000"}


def test_a_proxy_that_is_not_there(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is about the proxy, not about the endpoint."""
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{unused_port}")
    with pytest.raises(UnavailableError, match=f"the proxy 127.0.0.1:{unused_port}") as caught:
        InferenceEndpointsLLM(base_url="https://model.invalid").load()
    assert "NO_PROXY" in str(caught.value)
    assert "Is the server started" not in str(caught.value)


@contextmanager
def refusing_proxy(status: str) -> Iterator[str]:
    """A proxy that answers every CONNECT with this status."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("407 Proxy Authentication Required", RunError, "wants a login"),
        ("403 Forbidden", RunError, "does not let requests through"),
        ("429 Too Many Requests", UnavailableError, "cannot reach the host"),
        ("502 Bad Gateway", UnavailableError, "cannot reach the host"),
        ("503 Service Unavailable", UnavailableError, "cannot reach the host"),
    ],
)
def test_a_proxy_that_opens_no_way(
    status: str, error: type[RunError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`load()` says that it is the proxy, with what it answered and what to look at."""
    with refusing_proxy(status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        llm = InferenceEndpointsLLM(base_url="https://model.example", wait_ready=0.1)
        with pytest.raises(error, match=words) as caught:
            llm.load()
    assert type(caught.value) is error
    assert f"proxy answered {status[:3]}" in str(caught.value)
    assert "HTTPS_PROXY" in str(caught.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("target", [{"base_url": "http://localhost"}, {"model_id": "a/b"}])
def test_certificates_that_do_not_exist(
    name: str, target: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and what it names."""
    monkeypatch.setenv(name, "/nonexistent/certificates")
    with pytest.raises(ConfigurationError, match=f"{name} names '/nonexistent/certificates'"):
        InferenceEndpointsLLM(**target, api_key="hf_x").load()


def test_certificates_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of something else, or a folder in its place, is named too."""
    file = tmp_path / "certificates.pem"
    file.write_text("no certificate")
    for path in (file, tmp_path):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE="):
            system_trust()
