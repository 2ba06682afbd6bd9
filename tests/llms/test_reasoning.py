"""How much a model thinks: said in each server's fields, learned from refusals, counted apart."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import rows_of, run, write_rows

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients.reasoning import LEVELS, fields_of
from distilabel_endpoints.errors import ConfigurationError, ParameterError, RunError
from distilabel_endpoints.records import Server
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
OFF = {"enable_thinking": False, "thinking": False}


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def use_openai_client(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def sent_fields(body: dict[str, Any]) -> dict[str, Any]:
    usual = {"model", "messages", "max_tokens", "stream"}
    return {name: value for name, value in body.items() if name not in usual and value is not None}


@pytest.mark.parametrize(
    ("flavor", "setting", "fields"),
    [
        ("vllm", "off", {"reasoning_effort": "none"}),
        ("vllm", "low", {"reasoning_effort": "low"}),
        ("vllm", 3, {"thinking_token_budget": 3}),
        ("sglang", "off", {"reasoning_effort": "none"}),
        ("sglang", "high", {"reasoning_effort": "high"}),
        ("llamacpp", "off", {"chat_template_kwargs": OFF}),
        ("llamacpp", "medium", {"reasoning_effort": "medium"}),
        ("llamacpp", 3, {"thinking_budget_tokens": 3}),
        ("openai", "off", {"reasoning_effort": "none"}),
        ("openai", "high", {"reasoning_effort": "high"}),
    ],
)
def test_a_setting_is_said_in_the_servers_words(
    simulated_endpoint: Make, use_openai_client: bool, flavor: str, setting: Any, fields: Any
) -> None:
    """The server's own field arrives, and the thinking is as long as it says."""
    endpoint = simulated_endpoint(flavor=flavor, reasoning=True)
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url,
        served_model="simulated-model",
        reasoning=setting,
        use_openai_client=use_openai_client,
    )
    (output,) = llm.generate_outputs([HELLO])
    assert sent_fields(endpoint.generations[0].body) == fields
    thinking = (output.get("reasoning") or [None])[0]
    words = {"off": 0, "low": 4, "medium": 8, "high": 16, 3: 3}[setting]
    assert len((thinking or "").split()) == words
    counted = output["statistics"].get("reasoning_tokens")
    assert counted == ([words] if words and flavor != "llamacpp" else None)


@pytest.mark.parametrize(
    ("flavor", "setting", "message"),
    [
        ("tgi", "off", "cannot be sent to tgi"),
        ("tgi", 100, "cannot be sent to tgi"),
        ("sglang", 100, "give off, low, medium or high"),
        ("openai", 100, "give off, low, medium or high"),
    ],
)
def test_what_a_server_cannot_be_told_is_an_error(
    simulated_endpoint: Make, flavor: str, setting: Any, message: str
) -> None:
    """Before anything is sent."""
    endpoint = simulated_endpoint(flavor=flavor)
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, served_model="simulated-model", reasoning=setting
    )
    with pytest.raises(ConfigurationError, match=message):
        llm.generate([HELLO])
    assert endpoint.generations == ()


def test_an_older_server_is_told_in_other_words(
    simulated_endpoint: Make, caplog: pytest.LogCaptureFixture, use_openai_client: bool
) -> None:
    """vLLM before `none`: its refusal is learned from once, and no row fails for it."""
    refusal = {
        "error": {
            "message": "[{'type': 'literal_error', 'loc': ('body', 'reasoning_effort'), "
            "'msg': \"Input should be 'low', 'medium' or 'high'\", 'input': 'none'}]",
            "type": "Bad Request",
            "code": 400,
        }
    }
    older = Fault(Respond(400, refusal), marker='"reasoning_effort"')
    endpoint = simulated_endpoint(flavor="vllm", reasoning=True, faults=(older,))
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, reasoning="off", use_openai_client=use_openai_client
    )
    with caplog.at_level(logging.WARNING):
        first = llm.generate_outputs([HELLO])
        llm.generate_outputs([HELLO] * 5)
    assert first[0]["errors"] == [None]
    assert "reasoning" not in first[0]
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "reasoning_effort" in text]) == 1
    bodies = [record.body for record in endpoint.generations]
    assert sum("reasoning_effort" in body for body in bodies) == 1
    assert all(body["chat_template_kwargs"] == OFF for body in bodies[1:])


@pytest.mark.parametrize("setting", ["high", 64])
def test_a_model_that_takes_no_setting_ends_the_run(simulated_endpoint: Make, setting: Any) -> None:
    """Every row would be refused alike: the run ends, and the error says what to leave out."""
    refuses = ("reasoning_effort",) if setting == "high" else ()
    endpoint = simulated_endpoint(flavor="vllm", refuses=refuses)
    llm = InferenceEndpointsLLM(base_url=endpoint.url, reasoning=setting)
    with pytest.raises(RunError, match="reasoning"):
        llm.generate([[{"role": "user", "content": f"Question {n}?"}] for n in range(40)])


def test_nothing_is_said_twice(simulated_endpoint: Make) -> None:
    """A parameter that says it too is an error; variables of a template are merged."""
    endpoint = simulated_endpoint(flavor="llamacpp", reasoning=True)
    llm = InferenceEndpointsLLM(base_url=endpoint.url, reasoning="high")
    with pytest.raises(ParameterError, match="reasoning_effort"):
        llm.generate([HELLO], extra_body={"reasoning_effort": "low"})
    llm.reasoning = "off"
    llm.generate([HELLO], extra_body={"chat_template_kwargs": {"custom": 1}})
    kwargs = endpoint.generations[0].body["chat_template_kwargs"]
    assert kwargs == {**OFF, "custom": 1}


@pytest.mark.parametrize("given", ["none", 0, -1, 1.5, True])
def test_other_values_are_refused(given: Any) -> None:
    """By the attribute itself."""
    with pytest.raises(ConfigurationError, match="reasoning"):
        InferenceEndpointsLLM(base_url="http://localhost:1", reasoning=given)


@pytest.mark.parametrize("setting", [*LEVELS, 7])
@pytest.mark.parametrize("server", Server)
def test_every_server_has_its_words_or_an_error(server: Server, setting: Any) -> None:
    """The table is total: fields that are JSON, or an error that names the server."""
    ways: Sequence[Any] = ()
    with contextlib.suppress(ConfigurationError):
        ways = fields_of(setting, server)
    if not ways:
        with pytest.raises(ConfigurationError, match=server.value):
            fields_of(setting, server)
    assert [json.loads(json.dumps(dict(way))) for way in ways] == list(ways)


def test_a_run_has_a_column_of_their_tokens(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`--reasoning low`: the thinking in its column and its tokens beside; it is part of what a
    resume must match."""
    endpoint = simulated_endpoint(flavor="vllm", reasoning=True)
    rows = write_rows(tmp_path / "rows.jsonl", 3)
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    done = run(*words, "--reasoning", "low")
    assert done.returncode == 0, done.stderr
    found = rows_of(tmp_path / "out.jsonl")
    assert [row["reasoning_tokens"] for row in found] == [4, 4, 4]
    assert all(row["reasoning"] and row["output_tokens"] > 4 for row in found)
    other = run(*words, "--reasoning", "off")
    assert other.returncode == 1
    assert "reasoning" in other.stderr
    wrong = run(*words, "--reasoning", "much")
    assert wrong.returncode == 1
    assert "off, low, medium, high" in wrong.stderr
