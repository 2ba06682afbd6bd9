"""What `transformers serve` does in its own way, with the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import real_servers
from restart import check_a_run_over_a_restart

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import ModelNotFoundError

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

FRANCE: list[dict[str, Any]] = [{"role": "user", "content": "What is the capital of France?"}]
FEW: dict[str, Any] = {"max_new_tokens": 12, "temperature": 0.0}


@pytest.fixture(scope="module")
def server() -> Iterator[real_servers.RealServer]:
    with real_servers.transformers_serve() as started:
        yield started


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def settings(request: pytest.FixtureRequest, server: real_servers.RealServer) -> dict[str, Any]:
    return {
        "base_url": server.base_url,
        "served_model": server.model,
        "use_openai_client": request.param,
        "wait_ready": 120.0,
        "generation_kwargs": FEW,
    }


@pytest.fixture
def llm(settings: dict[str, Any]) -> Iterator[InferenceEndpointsLLM]:
    with InferenceEndpointsLLM(**settings) as opened:
        yield opened


def test_log_probabilities_are_ignored(
    llm: InferenceEndpointsLLM, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is answered, and the log says that the server ignores them."""
    (output,) = llm.generate_outputs([FRANCE], logprobs=True, top_logprobs=2)
    assert output["errors"] == [None]
    assert "ignores logprobs" in caplog.text


def test_a_json_schema_is_ignored(
    llm: InferenceEndpointsLLM, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that does not fit is a failure; the log says that the server ignores the schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    (output,) = llm.generate_outputs([(FRANCE, {"format": "json", "schema": schema})])
    (error,) = output["errors"]
    assert error is not None
    assert error.failure.code == "off_schema"
    assert "ignores response_format" in caplog.text


def test_a_choice_is_only_checked(llm: InferenceEndpointsLLM) -> None:
    """There is a warning before anything is sent, and an answer that does not fit is a failure."""
    choice = {"format": "choice", "schema": ["Berlin", "Madrid"]}
    with pytest.warns(UserWarning, match="answers are only checked"):
        (output,) = llm.generate_outputs([(FRANCE, choice)])
    (error,) = output["errors"]
    assert error is not None
    assert error.failure.code == "off_schema"


def test_a_parameter_that_is_refused_is_named(llm: InferenceEndpointsLLM) -> None:
    """It takes no `top_k`; the row's error says so."""
    (output,) = llm.generate_outputs([FRANCE], top_k=4)
    (error,) = output["errors"]
    assert error is not None
    assert error.failure.parameter == "top_k"


def test_a_prompt_beyond_the_context_is_answered(llm: InferenceEndpointsLLM) -> None:
    """It refuses no length: 9,000 tokens go to a model that was made for 8,192."""
    long = [{"role": "user", "content": "town " * 9_000}]
    (output,) = llm.generate_outputs([long], max_new_tokens=2)
    assert output["errors"] == [None]
    (tokens,) = output["statistics"]["input_tokens"]
    assert tokens is not None
    assert tokens > 8_192


def test_a_server_that_is_killed_in_the_middle_of_a_run(
    settings: dict[str, Any], server: real_servers.RealServer, tmp_path: Path
) -> None:
    """It is started again; what was in flight is sent again, and no row is lost or failed."""
    check_a_run_over_a_restart(server, settings, tmp_path / "out.jsonl", rows=30)


def test_the_temperature_needs_sampling(llm: InferenceEndpointsLLM) -> None:
    """The model's own configuration decides whether it samples; this one does not."""
    (output,) = llm.generate_outputs([FRANCE], num_generations=3, temperature=1.5)
    assert len(set(output["generations"])) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_rendered_here(server: real_servers.RealServer, stream: bool) -> None:
    """With `tokenizer_id` and the OpenAI client, by its completions API."""
    with InferenceEndpointsLLM(
        base_url=server.base_url,
        served_model=server.model,
        tokenizer_id=server.model,
        use_openai_client=True,
        stream=stream,
        generation_kwargs=FEW,
    ) as llm:
        assert "Paris" in str(llm.generate([FRANCE])[0][0])


def test_a_name_that_is_not_served(settings: dict[str, Any]) -> None:
    """It looks for any name on the Hub and answers 500 without a word; `load()` has warned."""
    llm = InferenceEndpointsLLM(**(settings | {"served_model": "no/such-model"}))
    with pytest.warns(UserWarning, match="is not among the models"):
        llm.load()
    with llm:
        (output,) = llm.generate_outputs([FRANCE])
    (error,) = output["errors"]
    assert error is not None
    assert error.failure.status == 500


@pytest.mark.parametrize("use_openai_client", [False, True])
def test_a_server_for_one_model(server: real_servers.RealServer, use_openai_client: bool) -> None:
    """It lists its model, and refuses the name of another: the run ends with the first answer."""
    assert server.model is not None
    with real_servers.transformers_serve(server.model) as pinned:
        settings: dict[str, Any] = {
            "base_url": pinned.base_url,
            "use_openai_client": use_openai_client,
            "generation_kwargs": FEW,
        }
        with InferenceEndpointsLLM(**settings) as llm:
            assert "Paris" in str(llm.generate([FRANCE])[0][0])
        other = InferenceEndpointsLLM(**settings, served_model="no/such-model")
        with pytest.warns(UserWarning, match="is not among the models"):
            other.load()
        with other, pytest.raises(ModelNotFoundError, match="no/such-model"):
            other.generate([FRANCE])
