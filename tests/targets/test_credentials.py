"""Which token goes to which URL."""

from __future__ import annotations

import asyncio
import socket
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import SecretStr

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.proxies import is_loopback
from distilabel_endpoints._targets.credentials import (
    refuse_insecure_token,
    refuse_public_address,
    saved_token,
    token_for_url,
)
from distilabel_endpoints.errors import ConfigurationError, UnavailableError

GIVEN, FOUND = SecretStr("hf_given"), SecretStr("hf_found")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("LOCALHOST", True), ("localhost.", True),
        ("127.0.0.1", True), ("127.255.255.254", True), ("::1", True), ("::1%lo", True),
        ("0.0.0.0", True), ("::", True),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
        ("evil.localhost.example", False), ("127.1", False), ("2130706433", False),
        ("0x7f000001", False), ("10.0.0.1", False), ("192.168.1.1", False), ("fe80::1", False),
        ("169.254.169.254", False), ("", False), (None, False), ("xn--localhost-9ja", False),
        ("localhost..", True), ("1.0.0.127", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(host: str | None, loopback: bool) -> None:
    """Names and addresses that cannot lead elsewhere, whatever a resolver says."""
    assert is_loopback(host) is loopback


INSECURE = [
    "http://example.com", "http://127.0.0.1@evil.example/", "http://localhost:80@evil.example",
    "http://localhost.evil.example", "http://192.168.1.1:8080", "http://[fe80::1]/",
    "HTTP://EXAMPLE.COM", "http://example.com./v1", "http://xn--bcher-kva.example",
]  # fmt: skip
SECURE = [
    "https://example.com", "HTTPS://EXAMPLE.COM", "http://localhost:8080/v1", "http://LocalHost",
    "http://127.0.0.1:80", "http://[::1]:8080", "http://localhost.", "http://0.0.0.0:8080",
]  # fmt: skip


@pytest.mark.promise("S5")
@pytest.mark.parametrize("url", INSECURE)
def test_a_given_token_never_goes_out_in_the_clear(url: str) -> None:
    """Plain http to another machine is refused; the error shows no token."""
    with pytest.raises(ConfigurationError, match="plain http") as caught:
        refuse_insecure_token(url)
    with pytest.raises(ConfigurationError):
        token_for_url(url, GIVEN, FOUND)
    assert "hf_" not in str(caught.value)


@pytest.mark.parametrize("url", SECURE)
def test_a_given_token_goes_where_it_was_given_for(url: str) -> None:
    """Over TLS to any host, in the clear to this machine."""
    refuse_insecure_token(url)
    assert token_for_url(url, GIVEN, FOUND) == GIVEN


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://huggingface.co", True),
        ("https://router.huggingface.co/v1", True),
        ("https://ROUTER.HuggingFace.CO:443/v1", True),
        ("https://abc.us-east-1.aws.endpoints.huggingface.cloud", True),
        ("https://hf.co", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1:8080", True),
        ("http://router.huggingface.co/v1", False),
        ("https://api.openai.com/v1", False),
        ("https://huggingface.co.evil.example", False),
        ("https://evilhuggingface.co", False),
        ("https://huggingface.co@evil.example", False),
        ("https://someone-space.hf.space", False),
        ("https://nothf.co", False),
        ("https://evil.example/huggingface.co", False),
        ("https://evil.example#huggingface.co", False),
        ("http://192.168.1.1", False),
        ("https://localhost.evil.example", False),
    ],
)
def test_a_found_token_is_not_shown_to_strangers(url: str, sent: bool) -> None:
    """A token of the environment goes to Hugging Face and to this machine, and to no one else."""
    if sent:
        assert token_for_url(url, None, FOUND) == FOUND
        return
    with pytest.warns(UserWarning, match="not sent to") as caught:
        assert token_for_url(url, None, FOUND) is None
    assert "hf_found" not in str(caught[0].message)
    assert "api_key (--api-key-env NAME)" in str(caught[0].message)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://vllm:8000/v1", ["vllm"]),
        ("http://VLLM.:8000/v1", ["other", "vllm"]),
        ("http://10.0.0.7/v1", ["10.0.0.7"]),
        ("http://192.168.1.1", ["192.168.1.1"]),
        ("http://[fd00::1]:8000", ["fd00::1"]),
    ],
)
def test_a_host_that_is_named_gets_the_token(url: str, names: list[str]) -> None:
    """Over plain http, in a private network, and no other host does."""
    assert token_for_url(url, GIVEN, FOUND, names) == GIVEN
    for others in ([], ["vllm.example"], ["10.0.0"]):
        with pytest.raises(ConfigurationError, match=r"plain http.*trusted_hosts"):
            refuse_insecure_token(url, others)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1]"])
def test_a_public_address_is_not_trusted(host: str) -> None:
    """Naming it does not help: strangers are on the way."""
    with pytest.raises(ConfigurationError, match="public address"):
        refuse_insecure_token(f"http://{host}/v1", [host.strip("[]")])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("address", "error"),
    [("10.1.2.3", None), ("8.8.8.8", ConfigurationError), (None, UnavailableError)],
)
async def test_a_name_must_lead_into_a_private_network(
    address: str | None, error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is resolved before the token is sent; one that does not resolve gets none."""

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        if address is None:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(error) if error else nullcontext():
        await refuse_public_address("http://vllm:8000")
    await refuse_public_address("https://vllm:8000")


@pytest.mark.parametrize("word", ["EMPTY", "none", "sk-no-key-required", " ollama\n"])
def test_a_placeholder_is_not_a_secret(word: str) -> None:
    """What documentations write for a server without keys goes anywhere."""
    sent = token_for_url("http://example.com", SecretStr(word), None)
    assert sent is not None
    assert sent.get_secret_value() == word.strip()
    InferenceEndpointsLLM(base_url="http://example.com", api_key=word)


def test_hosts_are_named_beside_a_url() -> None:
    """The name alone means nothing, and a key for another host is refused when it is given."""
    with pytest.raises(ConfigurationError, match="trusted_hosts is given without base_url"):
        InferenceEndpointsLLM(model_id="a/b", trusted_hosts=["vllm"])
    with pytest.raises(ConfigurationError, match="plain http"):
        InferenceEndpointsLLM(
            base_url=["http://vllm:1", "http://b:1"], api_key="k" * 9, trusted_hosts=["vllm"]
        )
    llm = InferenceEndpointsLLM(
        base_url="http://vllm:1", headers={"Authorization": "Bearer k"}, trusted_hosts=["vllm"]
    )
    assert InferenceEndpointsLLM.from_dict(llm.dump()).trusted_hosts == ["vllm"]


def test_no_token_is_no_token() -> None:
    """Nothing given and nothing found: nothing to send, nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert token_for_url("http://example.com", None, None) is None


@pytest.mark.parametrize("token", ["hf_abc\n", " hf_abc ", "hf_abc\r\n", "\thf_abc"])
def test_white_space_around_a_token_is_not_part_of_it(token: str) -> None:
    """What a file or a shell adds at the end does not spoil a header."""
    for given, found in ((SecretStr(token), None), (None, SecretStr(token))):
        sent = token_for_url("https://huggingface.co", given, found)
        assert sent is not None
        assert sent.get_secret_value() == "hf_abc"


@pytest.mark.parametrize("token", ["hf_a b", "hf_a\nX-Evil: 1", "hf_ä", "hf_a\x00", "hf_a\x7f"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    """A broken token is said at once, without being shown."""
    with pytest.raises(ConfigurationError, match="api_key holds a character") as caught:
        token_for_url("https://example.com", SecretStr(token), None)
    assert "hf_a" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="token of this environment holds"):
        token_for_url("https://huggingface.co", None, SecretStr(token))


@pytest.mark.parametrize("token", ["", "  \n"])
def test_an_empty_token_is_none(token: str) -> None:
    """An empty string is not sent as a token."""
    assert token_for_url("https://example.com", SecretStr(token), None) is None


def test_the_saved_token_is_the_environments_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HF_TOKEN` wins, and comes wrapped."""
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    token = saved_token()
    assert token is not None
    assert token.get_secret_value() == "hf_env"
    assert "hf_env" not in repr(token)
