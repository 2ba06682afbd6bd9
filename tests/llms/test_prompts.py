"""Prompts in place of conversations: texts as inputs, and the tokenizer of the router's model."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - how pickled objects come back is what is tested
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_tokenizer import make_tokenizer
from distilabel_endpoints._targets.credentials import FoundToken
from distilabel_endpoints.errors import ConversationError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.testing import HubModel, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
RENDERED = "<|im_start|>user\nHello world!<|im_end|>\n<|im_start|>assistant\n"
TOKEN = "hf_aTokenOfTheTests0123456789abcdef"
SCHEMA = {"format": "json", "schema": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small tokenizer with a chat template."""
    return str(make_tokenizer(tmp_path_factory.mktemp("prompts") / "tokenizer"))


@pytest.mark.parametrize(("flavor", "openai"), [("tgi", False), ("vllm", True)])
def test_a_text_is_sent_as_it_is(
    simulated_endpoint: Make, tokenizer: str, flavor: str, openai: bool
) -> None:
    """With a tokenizer, a text among conversations is a prompt, its structured output beside it."""
    endpoint = simulated_endpoint(flavor=flavor)
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, tokenizer_id=tokenizer, use_openai_client=openai
    )
    inputs: list[Any] = ["Once upon a time", HELLO, ("Once more", SCHEMA)]
    answers = llm.generate(inputs, temperature=0.5)
    assert all(text for (text,) in answers)
    bodies = [record.body for record in endpoint.generations]
    prompts = {body.get("inputs") or body["prompt"] for body in bodies}
    assert prompts == {"Once upon a time", RENDERED, "Once more"}
    llm.close()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "at least one character"), ("half \ud800", "surrogate at character 5")],
)
def test_a_text_that_cannot_be_sent(
    simulated_endpoint: Make, tokenizer: str, prompt: str, message: str
) -> None:
    """It is an error that names the input, before anything is sent."""
    endpoint = simulated_endpoint(flavor="tgi")
    llm = InferenceEndpointsLLM(base_url=endpoint.url, tokenizer_id=tokenizer)
    with llm, pytest.raises(ConversationError, match=rf"inputs\[1\]: .*{message}"):
        llm.generate([HELLO, prompt])
    assert not endpoint.generations


def test_a_text_on_the_chat_route_is_an_error(simulated_endpoint: Make) -> None:
    """The message shows the conversation that was meant; nothing is sent."""
    endpoint = simulated_endpoint(flavor="tgi")
    llm = InferenceEndpointsLLM(base_url=endpoint.url)
    with llm, pytest.raises(ConversationError, match=r"inputs\[0\]: .*'role': 'user'"):
        llm.generate(["Hello world!"])
    assert not endpoint.generations


@pytest.mark.parametrize("tokenizer_id", ["org/open", "Org/Open"])
@pytest.mark.parametrize("model_id", ["org/open", "org/open:together"])
def test_the_tokenizer_of_the_routers_own_model(
    simulated_hugging_face: Make, model_id: str, tokenizer_id: str
) -> None:
    """The same repository twice, as most programs have it: chat, with one warning."""
    hub = simulated_hugging_face(models=(HubModel("org/open", providers=("together",)),))
    llm = InferenceEndpointsLLM(model_id=model_id, tokenizer_id=tokenizer_id, api_key=TOKEN)
    with pytest.warns(UserWarning, match="tokenizer_id is not used"):
        llm.load()
    assert all(text for (text,) in llm.generate([HELLO, HELLO]))  # a second warning is an error
    assert {record.path for record in hub.generations} == {"/router/v1/chat/completions"}
    assert llm.fingerprint({})["tokenizer_id"] is None
    llm.close()


def test_a_token_that_was_found_stays_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Copied, pickled or assigned, it is not taken for one that was given for the URL."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    first = InferenceEndpointsLLM(base_url="http://example.org")
    second = InferenceEndpointsLLM(base_url="http://example.org", api_key=first.api_key)
    third = copy.deepcopy(first)
    third.api_key = first.api_key
    for llm in (first, second, third, pickle.loads(pickle.dumps(first))):
        assert isinstance(llm.api_key, FoundToken)
        assert llm._target_settings("http://example.org").given_token is None
    given = InferenceEndpointsLLM(base_url="https://example.org", api_key=TOKEN)
    assert given._target_settings("https://example.org").given_token is not None
