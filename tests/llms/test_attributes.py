"""Attributes: wrong ones are ours to catch, whichever way they come in, and change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import ConfigurationError, DistilabelError
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

URL = "http://127.0.0.1:9"
HELLO = [{"role": "user", "content": "Hello world!"}]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timeout": "abc"}, "timeout"),
    ({"timeout": -1}, "timeout"),
    ({"max_concurrency": 0}, "max_concurrency"),
    ({"api_key": ["x"]}, "api_key"),
    ({"headers": "x"}, "headers"),
    ({"generation_kwargs": {"top_q": 1}}, "top_p"),
    ({"structured_output": {"format": "xml"}}, "structured_output"),
    ({"on_length": "grow"}, "on_length"),
    ({"base_url": 5}, "base_url"),
    ({"base_url": "localhost:1"}, "localhost:1"),
    ({"timout": 5}, "Did you mean 'timeout'"),
    ({"wake": True}, "wake"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG, ids=[str(list(w)) for w, _ in WRONG])
@pytest.mark.parametrize("way", ["constructor", "model_validate", "json", "from_dict"])
def test_a_wrong_attribute_is_our_error(wrong: dict[str, Any], named: str, way: str) -> None:
    """`except DistilabelError` catches it, and its message names the attribute."""
    values = {"base_url": URL, **wrong}
    make: dict[str, Callable[[], object]] = {
        "constructor": lambda: InferenceEndpointsLLM(**values),
        "model_validate": lambda: InferenceEndpointsLLM.model_validate(values),
        "json": lambda: InferenceEndpointsLLM.model_validate_json(json.dumps(values)),
        "from_dict": lambda: InferenceEndpointsLLM.from_dict(values),
    }
    with pytest.raises(DistilabelError, match=named) as caught:
        make[way]()
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.__context__ is None  # pydantic's error holds the values


@pytest.mark.parametrize(("wrong", "named"), WRONG, ids=[str(list(w)) for w, _ in WRONG])
def test_a_wrong_assignment_changes_nothing(wrong: dict[str, Any], named: str) -> None:
    """The same for `llm.timeout = "abc"`; the object is as it was."""
    llm = InferenceEndpointsLLM(base_url=URL)
    before = llm.model_dump()
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigurationError, match=named):
        setattr(llm, name, value)
    assert llm.model_dump() == before
    assert "timeout" not in llm.model_fields_set


def test_an_assigned_key_is_a_secret(simulated_endpoint: Make) -> None:
    """`llm.api_key = "..."` is validated: hidden from then on, and what is sent."""
    with InferenceEndpointsLLM(base_url=simulated_endpoint().url) as llm:
        llm.generate([HELLO])
        llm.api_key = "the-key"  # type: ignore[assignment]  # a SecretStr once it is validated
        assert isinstance(llm.api_key, SecretStr)
        assert llm.api_key.get_secret_value() == "the-key"
        assert "the-key" not in repr(llm)
        assert llm.generate([HELLO])[0][0]


def test_an_assignment_after_loading_loads_anew(simulated_endpoint: Make) -> None:
    """What was read when loading is read again; nothing uses the old value."""
    first, second = simulated_endpoint(), simulated_endpoint()
    with InferenceEndpointsLLM(base_url=first.url) as llm:
        llm.generate([HELLO])
        llm.base_url = second.url
        llm.generate([HELLO])
    assert len(first.generations) == len(second.generations) == 1


def test_a_model_of_others_reports_it_as_pydantic_does() -> None:
    """As a field of another pydantic model: a `ValidationError` with the place."""

    class Pipeline(BaseModel):
        llm: InferenceEndpointsLLM

    assert Pipeline.model_validate({"llm": {"base_url": URL}}).llm.base_url == URL
    with pytest.raises(ValidationError, match="timeout") as caught:
        Pipeline.model_validate({"llm": {"base_url": URL, "timeout": "abc"}})
    assert caught.value.errors()[0]["loc"] == ("llm",)


def test_what_an_attribute_means_is_in_the_schema() -> None:
    """The docstrings reach `help()`'s source of truth and the JSON schema."""
    fields = InferenceEndpointsLLM.model_json_schema()["properties"]
    assert fields["timeout"]["description"] == "Seconds for one attempt, whatever it waits for."
