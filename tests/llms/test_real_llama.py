"""The documented class on a real model: llama.cpp with SmolLM2, through both client libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from chat_tokenizer import make_tokenizer
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.local import LocalEndpoint

FRANCE: list[dict[str, Any]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
INPUT_TOKENS = 27
"""Of FRANCE in the model's chat template: the same on every path."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=["hub_chat", "openai_chat", "openai_text"])
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def arguments(
    local_endpoint: LocalEndpoint, tmp_path_factory: pytest.TempPathFactory, route: str
) -> dict[str, Any]:
    """What opens the path; on text the model's own chat template renders the prompt."""
    tokenizer = None
    if route == "openai_text":
        props = httpx2.get(f"{local_endpoint.base_url}/props", timeout=10).json()
        folder = tmp_path_factory.mktemp("model") / "tokenizer"
        tokenizer = str(make_tokenizer(folder, props["chat_template"]))
    return {
        "base_url": local_endpoint.base_url,
        "use_openai_client": route != "hub_chat",
        "tokenizer_id": tokenizer,
        "generation_kwargs": {"max_new_tokens": 10, "temperature": 0},
    }


@pytest.fixture(scope="module")
def llm(arguments: dict[str, Any]) -> Iterator[InferenceEndpointsLLM]:
    with InferenceEndpointsLLM(**arguments) as opened:
        yield opened


def test_llama_answers(llm: InferenceEndpointsLLM, local_endpoint: LocalEndpoint) -> None:
    """The model knows it, chat or prompt; tokens are counted and the model is named."""
    (output,) = llm.generate_outputs([FRANCE])
    assert "Paris" in str(output["generations"][0])
    assert output["finish_reasons"] == ["stop"]
    assert 0 < (output["statistics"]["output_tokens"][0] or 0) <= 10
    assert output["statistics"]["input_tokens"] == [INPUT_TOKENS]
    assert llm.model_name == local_endpoint.model_name


def test_llama_choices(llm: InferenceEndpointsLLM) -> None:
    """Three answers to one request, and the same ones again for the same seed."""
    asked: dict[str, Any] = {"temperature": 1.5, "seed": 0, "max_new_tokens": 6}
    first, again = (llm.generate_outputs([FRANCE], num_generations=3, **asked) for _ in range(2))
    assert len(set(first[0]["generations"])) == 3
    assert first[0]["generations"] == again[0]["generations"]
    assert len(first[0]["statistics"]["output_tokens"]) == 1


def test_llama_more_choices_than_slots(arguments: dict[str, Any]) -> None:
    """The server refuses more choices than it has slots; they are fetched one by one."""
    with InferenceEndpointsLLM(**arguments) as llm:
        (output,) = llm.generate_outputs([FRANCE], num_generations=5, max_new_tokens=2)
    assert output["errors"] == [None] * 5


def test_llama_logprobs(llm: InferenceEndpointsLLM) -> None:
    """One entry per token, with as many alternatives as were asked for."""
    (output,) = llm.generate_outputs([FRANCE], logprobs=True, top_logprobs=2)
    (tokens,) = output["logprobs"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)
    assert "".join(token["token"] for token in tokens) == output["generations"][0]


def test_llama_stop(llm: InferenceEndpointsLLM) -> None:
    """The text ends before a stop sequence."""
    assert "Paris" not in str(llm.generate([FRANCE], stop_sequences="Paris")[0][0])


def test_llama_json(llm: InferenceEndpointsLLM) -> None:
    """Even this small model cannot leave the schema."""
    wanted = {"format": "json", "schema": CITY}
    ((text,),) = llm.generate([(FRANCE, wanted)], max_new_tokens=40)
    assert set(json.loads(str(text))) == {"city", "large"}


def test_llama_longer(llm: InferenceEndpointsLLM, arguments: dict[str, Any]) -> None:
    """`grow` brings the text that was cut off, and its continuation; and JSON that is whole."""
    wanted = {"format": "json", "schema": CITY}
    cut, whole = (llm.generate([FRANCE], max_new_tokens=most)[0][0] for most in (4, 12))
    with InferenceEndpointsLLM(**arguments, on_length="grow:3x") as growing:
        ((longer,),) = growing.generate([FRANCE], max_new_tokens=4)
    with InferenceEndpointsLLM(**arguments, on_length="grow:10x") as growing:
        ((city,),) = growing.generate([(FRANCE, wanted)], max_new_tokens=4)
    assert longer == whole != cut
    assert str(longer).startswith(str(cut))
    assert set(json.loads(str(city))) == {"city", "large"}


@pytest.mark.parametrize("format_", ["choice", "regex"])
def test_llama_words(llm: InferenceEndpointsLLM, format_: str) -> None:
    """One of some texts, by list and by pattern."""
    wanted: dict[str, dict[str, Any]] = {
        "choice": {"format": "choice", "schema": ["Berlin", "Madrid"]},
        "regex": {"format": "regex", "schema": "(Berlin|Madrid)"},
    }
    ((text,),) = llm.generate([(FRANCE, wanted[format_])])
    assert text in {"Berlin", "Madrid"}


def test_llama_stream(llm: InferenceEndpointsLLM, arguments: dict[str, Any]) -> None:
    """Read as a stream, the same output comes."""
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "seed": 1}
    whole = llm.generate_outputs([FRANCE], **asked)
    with InferenceEndpointsLLM(**arguments, stream=True) as streaming:
        pieces = streaming.generate_outputs([FRANCE], **asked)
    assert pieces[0]["generations"] == whole[0]["generations"]
    assert pieces[0]["finish_reasons"] == whole[0]["finish_reasons"]
    assert pieces[0]["statistics"] == whole[0]["statistics"]
    assert [token["token"] for token in pieces[0]["logprobs"][0]] == [
        token["token"] for token in whole[0]["logprobs"][0]
    ]


def test_llama_tools(llm: InferenceEndpointsLLM) -> None:
    """Tools are taken; this model's template does not show them, so the answer is text."""
    (output,) = llm.generate_outputs([FRANCE], tools=[WEATHER])
    assert output["errors"] == [None]
    assert isinstance(output["generations"][0], str)
