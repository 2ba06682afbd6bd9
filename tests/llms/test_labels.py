"""Labels with confidence: on every server that can give them, refused by the others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import rows_of, run, write_rows

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import ConfigurationError, ParameterError, RunError
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint
from distilabel_endpoints.testing.answer_request import AnswerRequest

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]
LABELS = ["good", "very good", "bad"]
AFTER: Mapping[str, Mapping[str, float]] = {
    "": {"Good": 0.3, "good": 0.1, "very": 0.1, "bad": 0.2, "the": 0.3},
    "very": {" good": 0.5, " much": 0.5},
}


def next_tokens(_: AnswerRequest, text: str) -> Mapping[str, float]:
    """A model of a few words."""
    return AFTER.get(text, {".": 1.0})


EXPECTED = {"good": 0.4 / 0.65, "bad": 0.2 / 0.65, "very good": 0.05 / 0.65}


@pytest.mark.parametrize("use_openai_client", [False, True], ids=["hub", "openai"])
@pytest.mark.parametrize("flavor", ["vllm", "sglang", "llamacpp", "tgi"])
def test_shares_on_every_server(
    simulated_endpoint: Make, flavor: str, use_openai_client: bool
) -> None:
    """The likeliest label first, capitals and shared beginnings right, in as few answers as that
    takes."""
    endpoint = simulated_endpoint(flavor=flavor, next_tokens=next_tokens)
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, labels=LABELS, use_openai_client=use_openai_client
    )
    (output,) = llm.generate_outputs([HELLO])
    (shares,) = output["distributions"]
    assert shares is not None
    assert shares == pytest.approx(EXPECTED)
    assert list(shares) == ["good", "bad", "very good"]
    assert len(endpoint.generations) == 2
    assert "logprobs" not in output


@pytest.mark.parametrize("stream", [False, True])
def test_streamed_or_whole(simulated_endpoint: Make, stream: bool) -> None:
    """The same either way."""
    endpoint = simulated_endpoint(flavor="vllm", next_tokens=next_tokens)
    llm = InferenceEndpointsLLM(base_url=endpoint.url, labels=LABELS, stream=stream)
    assert llm.generate_outputs([HELLO])[0]["distributions"] == [pytest.approx(EXPECTED)]


def test_servers_without_choices_are_refused(simulated_endpoint: Make) -> None:
    """OpenAI's API cannot hold an answer to labels: an error before anything is sent."""
    endpoint = simulated_endpoint(flavor="openai")
    llm = InferenceEndpointsLLM(
        base_url=endpoint.url, served_model="simulated-model", labels=LABELS
    )
    with pytest.raises(ConfigurationError, match="cannot hold an answer to labels"):
        llm.generate([HELLO])
    assert endpoint.generations == ()


def test_a_server_without_log_probabilities_ends_the_run(simulated_endpoint: Make) -> None:
    """It ignores that they were asked for: no row gets a made-up confidence."""
    answer = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "bad"},
                "finish_reason": "stop",
            }
        ]
    }
    without = Fault(Respond(200, answer))
    endpoint = simulated_endpoint(flavor="vllm", faults=(without,))
    llm = InferenceEndpointsLLM(base_url=endpoint.url, labels=LABELS)
    with pytest.raises(RunError, match="log-prob"):
        llm.generate([HELLO])


@pytest.mark.parametrize(
    "given", [{"temperature": 1.0}, {"logprobs": True}, {"num_generations": 2}]
)
def test_what_labels_decide_is_refused_beside_them(
    simulated_endpoint: Make, given: dict[str, Any]
) -> None:
    """Each would change what the confidence means."""
    llm = InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url, labels=LABELS)
    with pytest.raises(ParameterError, match="labels"):
        llm.generate([HELLO], **given)
    llm.structured_output = {"format": "choice", "schema": ["a", "b"]}
    with pytest.raises(ConfigurationError, match="structured_output"):
        llm.generate([HELLO])


@pytest.mark.parametrize("labels", [["yes"], ["yes", " yes"], ["yes", ""]])
def test_labels_that_cannot_be_told_apart(labels: list[str]) -> None:
    """By the attribute itself."""
    with pytest.raises(ConfigurationError, match="label"):
        InferenceEndpointsLLM(base_url="http://localhost:1", labels=labels)


def test_a_run_has_their_columns(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`--label a,b,c`: typed columns, and part of what a resume must match."""
    endpoint = simulated_endpoint(flavor="vllm", next_tokens=next_tokens)
    rows = write_rows(tmp_path / "rows.jsonl", 3)
    words = ["generate", rows, "-o", tmp_path / "out.jsonl", "--base-url", endpoint.url]
    done = run(*words, "--label", "good, very good,bad")
    assert done.returncode == 0, done.stderr
    found = rows_of(tmp_path / "out.jsonl")
    assert [row["label"] for row in found] == ["good"] * 3
    assert all(math.isclose(row["confidence"], 0.4 / 0.65) for row in found)
    assert set(json.loads(found[0]["distribution"])) == set(LABELS)
    other = run(*words, "--label", "good", "--label", "bad")
    assert other.returncode == 1
    assert "labels" in other.stderr
    llm = InferenceEndpointsLLM(base_url=endpoint.url, labels=LABELS)
    table = generate_dataset(llm, rows, tmp_path / "out.parquet").to_dataset()
    assert table.features["confidence"].dtype == "float64"
    assert table["label"][0] == "good"


def test_a_row_whose_second_answer_fails_is_failed(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """No half-known confidence is written: the row fails and is tried again by the same call."""
    refused = Fault(Respond(400, {"error": {"message": "no"}}), marker='["very good"]')
    endpoint = simulated_endpoint(flavor="vllm", next_tokens=next_tokens, faults=(refused,))
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    llm = InferenceEndpointsLLM(base_url=endpoint.url, labels=LABELS)
    assert generate_dataset(llm, rows, tmp_path / "out.jsonl").summary.failed == 1
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["label"] is None
    endpoint.clear_faults()
    assert generate_dataset(llm, rows, tmp_path / "out.jsonl").summary.ok == 1
