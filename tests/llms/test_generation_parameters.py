"""The public type of the generation parameters says what the table says."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_type_hints

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.parameters import PARAMETERS
from distilabel_endpoints.errors import ParameterError
from distilabel_endpoints.llms.inputs import GenerationParameters
from distilabel_endpoints.testing import SimulatedEndpoint


def test_the_type_names_what_the_table_names() -> None:
    """A parameter that is typed is one that can be sent, and the other way round."""
    assert set(get_type_hints(GenerationParameters)) == set(PARAMETERS)


def test_every_parameter_may_be_none() -> None:
    """`None` means: not set."""
    for name, hint in get_type_hints(GenerationParameters).items():
        assert type(None) in hint.__args__, name


def test_a_call_is_checked_with_what_the_object_has(
    simulated_endpoint: Callable[..., SimulatedEndpoint],
) -> None:
    """What contradicts the object's own parameters is refused before anything is sent."""
    endpoint = simulated_endpoint()
    llm = InferenceEndpointsLLM(base_url=endpoint.url, generation_kwargs={"do_sample": True})
    with pytest.raises(ParameterError, match="'do_sample'=True contradicts 'temperature'=0"):
        llm.generate([[{"role": "user", "content": "Hi"}]], temperature=0)
    assert not endpoint.requests
