"""What reaches a server: conversations without null keys, parts, and prompts rendered here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_tokenizer import make_tokenizer
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.testing import SimulatedEndpoint

Start = Callable[..., SimulatedEndpoint]
THINKS = (
    "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}<no-think>{% endif %}"
)


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def use_openai_client(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def sent(endpoint: SimulatedEndpoint, given: Any, **options: Any) -> Any:
    """The body of the one request that an input makes."""
    parameters = options.pop("parameters", {})
    with InferenceEndpointsLLM(base_url=endpoint.url, **options) as llm:
        llm.generate([given], **parameters)
    (record,) = endpoint.generations
    return record.body


def test_null_keys_are_not_sent(simulated_endpoint: Start, use_openai_client: bool) -> None:
    """Those of messages and of parts, as `list(dataset)` has them."""
    text = {"type": "text", "text": "hi", "image_url": None}
    image = {"type": "image_url", "text": None, "image_url": {"url": "data:image/png;base64,AA=="}}
    message = {"role": "user", "name": None, "tool_calls": None, "content": [text, image]}
    body = sent(simulated_endpoint(), [message], use_openai_client=use_openai_client)
    assert body["messages"] == [
        {"role": "user", "content": [
            {"type": "text", "text": "hi"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ]}
    ]  # fmt: skip


@pytest.mark.parametrize("flavor", ["vllm", "tgi"])
def test_a_prompt_that_is_rendered_here(
    flavor: str, simulated_endpoint: Start, tmp_path: Path
) -> None:
    """One first token, the template's variables used and not sent, text parts joined."""
    folder = make_tokenizer(tmp_path / "tokenizer", THINKS)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = sent(
        simulated_endpoint(flavor=flavor),
        [{"role": "user", "content": parts}],
        use_openai_client=flavor != "tgi",
        tokenizer_id=str(folder),
        parameters={"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    )
    assert body.get("prompt", body.get("inputs")) == "[INST] a\nb [/INST]<no-think>"
    assert "chat_template_kwargs" not in body


def test_a_template_of_the_server_gets_its_variables(
    simulated_endpoint: Start, use_openai_client: bool
) -> None:
    """Without `tokenizer_id` they are the server's."""
    variables = {"enable_thinking": False}
    body = sent(
        simulated_endpoint(flavor="vllm"),
        [{"role": "user", "content": "hi"}],
        use_openai_client=use_openai_client,
        parameters={"extra_body": {"chat_template_kwargs": variables}},
    )
    assert body["chat_template_kwargs"] == variables
