"""What a `base_url` may be, and where the routes under it are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._targets.urls import Target, check_base_url, target_of_url
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Server


@pytest.mark.parametrize(
    ("url", "root", "api"),
    [
        ("http://h", "http://h", "http://h/v1"),
        ("http://h/", "http://h", "http://h/v1"),
        ("http://h:8080", "http://h:8080", "http://h:8080/v1"),
        ("  http://h/v1  ", "http://h", "http://h/v1"),
        ("http://h/v1/", "http://h", "http://h/v1"),
        ("http://h//v1//", "http://h", "http://h/v1"),
        ("http://h/v1/chat/completions", "http://h", "http://h/v1"),
        ("http://h/v1/chat/completions/", "http://h", "http://h/v1"),
        ("http://h/v1/completions", "http://h", "http://h/v1"),
        ("http://h/v1/models", "http://h", "http://h/v1"),
        ("http://h/chat/completions", "http://h", "http://h"),
        ("http://h/generate", "http://h", "http://h/v1"),
        ("http://h/generate_stream", "http://h", "http://h/v1"),
        ("http://h/deployed/generate", "http://h/deployed", "http://h/deployed/v1"),
        ("http://h/deployed", "http://h/deployed", "http://h/deployed/v1"),
        ("https://h/api/v1", "https://h/api", "https://h/api/v1"),
        ("https://h/v2", "https://h", "https://h/v2"),
        ("https://h/v1beta", "https://h", "https://h/v1beta"),
        (
            "https://h/v1beta/openai/chat/completions",
            "https://h/v1beta/openai",
            "https://h/v1beta/openai",
        ),
        ("https://h/models/m", "https://h/models/m", "https://h/models/m/v1"),
        ("https://h/models", "https://h/models", "https://h/models/v1"),
        ("HTTPS://Host.Example:443/V", "https://host.example/V", "https://host.example/V/v1"),
        ("http://h:80", "http://h", "http://h/v1"),
        ("http://h:443", "http://h:443", "http://h:443/v1"),
        ("http://h:/v1", "http://h", "http://h/v1"),
        ("http://localhost.:8080", "http://localhost.:8080", "http://localhost.:8080/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080", "http://[::1]:8080/v1"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]", "http://[2001:db8::1]/v1"),
        ("http://my_host", "http://my_host", "http://my_host/v1"),
        ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example",
         "http://xn--bcher-kva.example/v1"),
        ("https://router.huggingface.co/v1", "https://router.huggingface.co",
         "https://router.huggingface.co/v1"),
    ],
)  # fmt: skip
def test_root_and_api_of_a_url(url: str, root: str, api: str) -> None:
    """However much of the path was given, TGI's root and the API under it are found."""
    target = target_of_url(url)
    assert (target.root, target.api) == (root, api)
    assert target.chat_url == f"{api}/chat/completions"
    assert (target.server, target.model, target.token) == (Server.UNKNOWN, None, None)


@pytest.mark.parametrize(
    ("url", "api", "other"),
    [
        ("http://h", "http://h/v1", "http://h"),
        ("http://h/api", "http://h/api/v1", "http://h/api"),
        ("https://h/v1/openai", "https://h/v1/openai", "https://h/v1/openai/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai", "https://h/v1beta/openai/v1"),
        ("https://h/serving-endpoints", "https://h/serving-endpoints",
         "https://h/serving-endpoints/v1"),
        ("https://h/endpoints/openapi", "https://h/endpoints/openapi",
         "https://h/endpoints/openapi/v1"),
        ("https://h/inference", "https://h/inference", "https://h/inference/v1"),
        ("https://h/v1/a/gateway/compat", "https://h/v1/a/gateway/compat",
         "https://h/v1/a/gateway/compat/v1"),
        ("https://h/api/paas/v4/", "https://h/api/paas/v4", None),
        ("https://h/ai/v1", "https://h/ai/v1", None),
        ("https://h/chat/completions", "https://h", None),
        ("https://h/generate", "https://h/v1", "https://h"),
    ],
)  # fmt: skip
def test_where_the_api_may_be(url: str, api: str, other: str | None) -> None:
    """A version or a route says it; otherwise there are two places, the likelier one first."""
    target = target_of_url(url)
    assert (target.api, target.other_api) == (api, other)


def test_an_azure_deployment() -> None:
    """Its query is kept, and its name is the model's."""
    url = "https://h/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    target = target_of_url(url)
    assert (target.api, target.other_api) == ("https://h/openai/deployments/mine", None)
    assert (target.query, target.model) == ("api-version=2024-10-21", "mine")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not an http"),
        ("localhost:8080", "not an http"),
        ("example.com/v1", "not an http"),
        ("ftp://h", "not an http"),
        ("unix:///run/s", "not an http"),
        ("file:///etc/passwd", "not an http"),
        ("http://", "not an http"),
        ("http://:8080", "not an http"),
        ("http:///v1", "not an http"),
        ("http://h:0", "not an http"),
        ("http://h:99999", "not a URL"),
        ("http://h:port", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://127.0.0.1@evil.example", "credentials"),
        ("http://user:secret@h", "credentials"),
        ("http://@h", "credentials"),
        ("http://h\\@evil.example", "credentials"),
        ("https://evil.example\\.huggingface.co", "not a readable name"),
        ("http://bücher.example", "xn--"),
        ("http://ho st", "not a readable name"),
        ("http://..", "not a readable name"),
        ("http://h/a b", "a space"),
        ("http://h\n.evil.example", "a space"),
        ("http://h?token=abc", "query"),
        ("https://h/v1?api-version=1&key=abc", "as 'key'"),
        ("https://h/v1?x-functions-key=abc", "a key in its query"),
        ("https://h/v1?sig=abc", "a key in its query"),
        ("http://h#x", "fragment"),
        ("https://api-inference.huggingface.co", "retired"),
        ("https://API-Inference.huggingface.co./models/m", "retired"),
    ],
)
def test_a_url_that_cannot_be_talked_to(url: str, said: str) -> None:
    """The error says what is wrong and shows neither credentials nor a query."""
    for check in (check_base_url, target_of_url):
        with pytest.raises(ConfigurationError, match=said) as caught:
            check(url)
        assert caught.value.__cause__ is None
        for hidden in ("secret", "user", "abc"):
            assert hidden not in str(caught.value)


def test_a_password_with_a_slash_is_not_shown() -> None:
    """A URL that cannot even be taken apart keeps its credentials to itself."""
    with pytest.raises(ConfigurationError) as caught:
        check_base_url("http://user:pa/ss@wd@h/v1")
    assert str(caught.value).startswith("base_url 'http://h/v1' is not a URL")


def test_a_target_shows_no_token() -> None:
    """The token is not part of a target's repr."""
    assert "token" not in repr(Target(root="http://h", api="http://h/v1"))


@given(st.text(max_size=30) | st.text("htps:/@[]?#.%v1\\ \n", max_size=20).map("http://".__add__))
def test_any_text_is_a_url_or_a_configuration_error(text: str) -> None:
    """No text makes reading a URL raise anything else, and what is read stays what it is."""
    try:
        target = target_of_url(text)
    except ConfigurationError:
        return
    again = target_of_url(target.api)
    assert target.root.startswith(("http://", "https://"))
    assert again.api in {target.api, f"{target.api}/v1"}
