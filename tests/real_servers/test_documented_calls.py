"""The documented calls on real servers and gateways, through both client libraries.

`make prove` runs them; docs/servers.md says which server was seen when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest
from benchmarks import real_servers

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import ModelNotFoundError
from distilabel_endpoints.local import LocalEndpoint

pytestmark = [
    pytest.mark.prove,
    pytest.mark.timeout(900),
]

FRANCE: list[dict[str, Any]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Target(NamedTuple):
    """A real server as the class names it, and what it can do."""

    name: str
    settings: dict[str, Any]
    lacks: frozenset[str]
    """Of: logprobs, json, regex, overflow, names."""
    sampling: dict[str, Any]
    """What makes it use the temperature."""


LACKS: dict[str, frozenset[str]] = {
    # llama.cpp answers under any name.
    "llama.cpp": frozenset({"names"}),
    "vllm": frozenset(),
    # What it does instead is in test_transformers.py. A prompt that is too long takes much memory.
    "transformers": frozenset({"logprobs", "json", "regex", "overflow", "names"}),
    # An unrecognised server, for which a choice and a pattern have no field.
    "litellm": frozenset({"regex"}),
    "nginx": frozenset({"names"}),
}


@pytest.fixture(scope="module", params=list(LACKS))
def target(request: pytest.FixtureRequest, local_endpoint: LocalEndpoint) -> Iterator[Target]:
    """Each server in turn; the gateways stand before llama.cpp."""
    name = str(request.param)
    url, served = local_endpoint.base_url, local_endpoint.model_name
    if name == "llama.cpp":
        yield Target(name, {"base_url": url}, LACKS[name], {})
        return
    if name == "nginx" and not real_servers.is_installed("nginx"):
        pytest.skip("nginx is not installed: apt-get install nginx")
    starts: dict[str, Callable[[], AbstractContextManager[real_servers.RealServer]]] = {
        "vllm": real_servers.vllm,
        "transformers": real_servers.transformers_serve,
        "litellm": lambda: real_servers.litellm(url, served),
        "nginx": lambda: real_servers.nginx(
            url, "listen LISTEN; location /models/small/ { proxy_pass $upstream/; }"
        ),
    }
    with starts[name]() as server:
        settings: dict[str, Any] = {"base_url": server.base_url}
        if name == "nginx":
            settings["base_url"] += "/models/small"
        if name == "litellm":
            settings["api_key"] = real_servers.MASTER_KEY
        sampling: dict[str, Any] = {}
        if name == "transformers":
            settings["served_model"] = server.model
            sampling["extra_body"] = {"generation_config": '{"do_sample": true}'}
        yield Target(name, settings, LACKS[name], sampling)


def need(target: Target, ability: str) -> None:
    """Skip what this server is known not to do; what happens there instead has its own test."""
    if ability in target.lacks:
        pytest.skip(f"{target.name} does not do it")


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def settings(request: pytest.FixtureRequest, target: Target) -> dict[str, Any]:
    return {
        **target.settings,
        "use_openai_client": request.param,
        "wait_ready": 120.0,
        "generation_kwargs": {"max_new_tokens": 12, "temperature": 0.0},
    }


@pytest.fixture
def llm(settings: dict[str, Any]) -> Iterator[InferenceEndpointsLLM]:
    with InferenceEndpointsLLM(**settings) as opened:
        yield opened


def test_answers(llm: InferenceEndpointsLLM) -> None:
    """The model knows it; tokens are counted, and the reason of the end is one of ours."""
    (output,) = llm.generate_outputs([FRANCE])
    assert "Paris" in str(output["generations"][0])
    assert output["finish_reasons"][0] in {"stop", "length"}
    assert 0 < (output["statistics"]["output_tokens"][0] or 0) <= 13


def test_streams(settings: dict[str, Any]) -> None:
    """The same answer, streamed and not."""
    answers = []
    for stream in (True, False):
        with InferenceEndpointsLLM(**settings, stream=stream) as llm:
            (output,) = llm.generate_outputs([FRANCE])
        answers.append((output["generations"], output["finish_reasons"], output["errors"]))
    assert answers[0] == answers[1]


def test_a_stop_sequence(llm: InferenceEndpointsLLM) -> None:
    """The text ends before it."""
    assert "Paris" not in str(llm.generate([FRANCE], stop_sequences="Paris")[0][0])


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers(settings: dict[str, Any], target: Target, stream: bool) -> None:
    """Three answers to one row, in one request or in several."""
    given: dict[str, Any] = {"temperature": 1.2, **target.sampling}
    with InferenceEndpointsLLM(**settings, stream=stream) as llm:
        (output,) = llm.generate_outputs([FRANCE], num_generations=3, **given)
    assert output["errors"] == [None] * 3
    assert len(set(output["generations"])) > 1


def test_seeds(llm: InferenceEndpointsLLM, target: Target) -> None:
    """A row alone on a quiet server is the same for the same seed."""
    given: dict[str, Any] = {"temperature": 1.5, "seed": 7, **target.sampling}
    assert llm.generate([FRANCE], **given) == llm.generate([FRANCE], **given)


def test_logprobs(llm: InferenceEndpointsLLM, target: Target) -> None:
    """One entry per token, with as many alternatives as were asked for."""
    need(target, "logprobs")
    (output,) = llm.generate_outputs([FRANCE], logprobs=True, top_logprobs=2)
    (tokens,) = output["logprobs"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)


def test_json(llm: InferenceEndpointsLLM, target: Target) -> None:
    """Even this small model cannot leave the schema."""
    need(target, "json")
    ((text,),) = llm.generate([(FRANCE, {"format": "json", "schema": CITY})], max_new_tokens=60)
    assert set(json.loads(str(text))) == {"city", "large"}


@pytest.mark.parametrize("format_", ["choice", "regex"])
def test_words(llm: InferenceEndpointsLLM, target: Target, format_: str) -> None:
    """One of some texts, by list and by pattern."""
    need(target, "regex")
    wanted: dict[str, dict[str, Any]] = {
        "choice": {"format": "choice", "schema": ["Berlin", "Madrid"]},
        "regex": {"format": "regex", "schema": "(Berlin|Madrid)"},
    }
    ((text,),) = llm.generate([(FRANCE, wanted[format_])])
    assert text in {"Berlin", "Madrid"}


def test_tools(llm: InferenceEndpointsLLM) -> None:
    """They are taken, or the row's error says what the server says."""
    (output,) = llm.generate_outputs([FRANCE], tools=[WEATHER])
    assert output["errors"] == [None] or "tool" in str(output["errors"][0])


def test_a_prompt_that_is_too_long(llm: InferenceEndpointsLLM, target: Target) -> None:
    """It is that row's failure, with its code; the others are answered."""
    need(target, "overflow")
    long = [{"role": "user", "content": "word " * 4000}]
    first, second = llm.generate_outputs([long, FRANCE])
    assert first["errors"][0] is not None
    assert first["errors"][0].failure.code == "context_length_exceeded", first["errors"]
    assert second["errors"] == [None]


def test_a_name_that_is_not_served(settings: dict[str, Any], target: Target) -> None:
    """There is a warning with what is listed, and the run ends with the first answer."""
    need(target, "names")
    llm = InferenceEndpointsLLM(**(settings | {"served_model": "no/such-model"}))
    with pytest.warns(UserWarning, match="is not among the models"):
        llm.load()
    with llm, pytest.raises(ModelNotFoundError, match="no/such-model"):
        llm.generate([FRANCE])
