"""What travels to workers: never a secret, and errors that arrive as what they are."""

from __future__ import annotations

import pickle  # noqa: TID251 - Ray pickles what it carries
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM, errors
from distilabel_endpoints.errors import (
    ConfigurationError,
    EndpointError,
    FingerprintError,
    UserCodeError,
)
from distilabel_endpoints.ray.parcel import Parcel, pack
from distilabel_endpoints.records import Failure, FailureKind

CANARY = "hf_canaryCANARYcanary"
URL = "http://127.0.0.1:1"


def packed(llm: InferenceEndpointsLLM, **more: Any) -> Parcel:
    return pack(llm, **{"workers": 2, "api_key_env": None, "headers_env": None, **more})


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)


def test_an_explicit_token_without_a_variable_is_refused() -> None:
    """It would not arrive; the message says how to fix that, and not what the token is."""
    llm = InferenceEndpointsLLM(base_url=URL, api_key=CANARY)
    with pytest.raises(ConfigurationError, match="api_key_env") as caught:
        packed(llm)
    assert CANARY not in str(caught.value)


def test_the_token_is_read_where_the_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parcel holds the variable's name, and the worker's environment the value."""
    llm = InferenceEndpointsLLM(base_url=URL, api_key="of-the-driver")
    parcel = packed(llm, api_key_env="MY_TOKEN")
    assert b"of-the-driver" not in pickle.dumps(parcel)
    monkeypatch.setenv("MY_TOKEN", "of-the-worker")
    key = parcel.unpack().api_key
    assert key is not None
    assert key.get_secret_value() == "of-the-worker"


def test_a_variable_that_the_worker_lacks_is_named() -> None:
    """A worker without the variable says which, and where."""
    parcel = packed(InferenceEndpointsLLM(base_url=URL, api_key="x"), api_key_env="MY_TOKEN")
    with pytest.raises(ConfigurationError, match="MY_TOKEN is not set on the worker"):
        parcel.unpack()


def test_a_token_of_the_environment_needs_no_naming(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HF_TOKEN` is found again on the worker, whether it was given or found on the driver."""
    monkeypatch.setenv("HF_TOKEN", CANARY)
    found = packed(InferenceEndpointsLLM(model_id="a/b"))
    assert found.api_key_env is None
    given = packed(InferenceEndpointsLLM(base_url=URL, api_key=CANARY))
    assert given.api_key_env == "HF_TOKEN"
    for parcel in (found, given):
        assert CANARY.encode() not in pickle.dumps(parcel)
        assert CANARY not in repr(parcel)


def test_headers_travel_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are secrets: refused as values, read from variables."""
    llm = InferenceEndpointsLLM(base_url=URL, headers={"x-org": CANARY})
    with pytest.raises(ConfigurationError, match="headers_env"):
        packed(llm)
    monkeypatch.setenv("ORG", "value")
    parcel = packed(llm, headers_env={"x-org": "ORG"})
    assert CANARY.encode() not in pickle.dumps(parcel)
    assert parcel.unpack().headers["x-org"].get_secret_value() == "value"


def test_limits_per_minute_are_divided() -> None:
    """All workers together keep to what one process would."""
    llm = InferenceEndpointsLLM(base_url=URL, requests_per_minute=60, max_concurrency=7)
    made = packed(llm, workers=4).unpack()
    assert made.requests_per_minute == 15
    assert made.max_concurrency == 7


FAILURE = Failure(kind=FailureKind.RUN, code="unauthorized", status=401, message="m", hint="h")


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"run_error", "traceback_lines"}))
def test_every_error_crosses_processes(name: str) -> None:
    """Each of our exceptions is the same after pickling: class, text and failure."""
    kind = getattr(errors, name)
    if issubclass(kind, EndpointError):
        error = kind(FAILURE)
    elif kind is FingerprintError:
        error = kind("out", {"model": ("a", "b")})
    elif kind is UserCodeError:
        error = kind("on_row", 3, "what is wrong")
    else:
        error = kind("what is wrong")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error)
    assert getattr(back, "failure", None) == getattr(error, "failure", None)
