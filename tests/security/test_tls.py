"""TLS is verified, always: who cannot prove its name gets neither token nor prompt."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from canaries import PROMPT, TOKEN
from pydantic import SecretStr

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import TargetError
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

HELLO = [[{"role": "user", "content": PROMPT}]]
"""The input of one row."""


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed(ours: trustme.CA) -> ssl.SSLContext:
    """An authority's own certificate, used as a server's."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = authority.cert_pem.bytes() + authority.private_key_pem.bytes()
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
    return context


def expired(ours: trustme.CA) -> ssl.SSLContext:
    """A certificate that was good until yesterday."""
    now = datetime.now(UTC)
    begin, end = now - timedelta(9), now - timedelta(1)
    return serving(ours.issue_cert("127.0.0.1", not_before=begin, not_after=end))


UNPROVEN: dict[str, tuple[Callable[[trustme.CA], ssl.SSLContext], str]] = {
    "another authority": (lambda _: serving(trustme.CA().issue_cert("127.0.0.1")), "issuer"),
    "another host": (lambda ours: serving(ours.issue_cert("elsewhere.example")), "mismatch"),
    "expired": (expired, "expired"),
    "self-signed": (self_signed, "self.signed"),
}


@dataclass(frozen=True)
class Trust:
    """An authority, and how it is trusted."""

    authority: trustme.CA
    given: dict[str, Any]
    """What of it is said to the LLM."""


@pytest.fixture(params=["ca_file", "SSL_CERT_FILE"])
def ours(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
    """An authority that is trusted by an attribute, or by the environment."""
    authority, bundle = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if request.param == "ca_file":
        return Trust(authority, {"ca_file": str(bundle)})
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return Trust(authority, {})


def llm_for(endpoint: SimulatedEndpoint, **given: Any) -> InferenceEndpointsLLM:
    return InferenceEndpointsLLM(base_url=endpoint.url, api_key=SecretStr(TOKEN), **given)


@pytest.mark.promise("S6")
@pytest.mark.parametrize("use_openai_client", [False, True])
@pytest.mark.parametrize("name", UNPROVEN)
def test_who_does_not_prove_its_name_gets_nothing(
    simulated_endpoint: Make, ours: Trust, name: str, use_openai_client: bool
) -> None:
    """Wrong authority, host or time: the error says which, and no request was sent."""
    make, reason = UNPROVEN[name]
    endpoint = simulated_endpoint(tls=make(ours.authority))
    llm = llm_for(endpoint, use_openai_client=use_openai_client, **ours.given)
    with closing(llm), pytest.raises(TargetError, match=f"(?i){reason}"):
        llm.generate(HELLO)
    assert endpoint.requests == ()


@pytest.mark.promise("S6")
@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_private_authority_can_be_trusted(
    simulated_endpoint: Make,
    ours: Trust,
    use_openai_client: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With it the endpoint is trusted; without it, the same one is not."""
    endpoint = simulated_endpoint(tls=serving(ours.authority.issue_cert("127.0.0.1")))
    with closing(llm_for(endpoint, use_openai_client=use_openai_client, **ours.given)) as llm:
        assert llm.generate(HELLO)[0][0]
    assert endpoint.generations[0].headers["authorization"] == f"Bearer {TOKEN}"
    endpoint.clear_log()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    stranger = llm_for(endpoint, use_openai_client=use_openai_client)
    with closing(stranger), pytest.raises(TargetError):
        stranger.generate(HELLO)
    assert endpoint.requests == ()
