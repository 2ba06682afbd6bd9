"""An LLM as the function of a real `Dataset.map`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import ConfigurationError, CreditError, ParameterError
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
CANARY = "hf_CANARYcanaryCANARY"


@pytest.fixture
def llm(simulated_endpoint: Make) -> Iterator[InferenceEndpointsLLM]:
    refused = Fault(Respond(400, {"error": {"message": "no such language"}}), marker="Question 7?")
    endpoint = simulated_endpoint(flavor="vllm", faults=(refused,))
    with InferenceEndpointsLLM(base_url=endpoint.url, api_key=CANARY) as llm:
        yield llm


def dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def questions(count: int) -> Any:
    return dataset([{"prompt": f"Question {n}?"} for n in range(count)])


def test_a_map_over_a_dataset(llm: InferenceEndpointsLLM) -> None:
    """Our columns behind the input's; a row refused in a late batch has its error, no other."""
    given = questions(10)
    ask = llm.as_map_function(max_new_tokens=8)
    done = given.map(
        ask, batched=True, batch_size=4, writer_batch_size=4, features=ask.features(given.features)
    )
    assert done.column_names == [
        "prompt",
        "generation",
        "model_name",
        "finish_reason",
        "input_tokens",
        "output_tokens",
        "error",
        "error_code",
        "reasoning",
        "failed_generation",
    ]
    assert [n for n, text in enumerate(done["generation"]) if text is None] == [7]
    assert [n for n, error in enumerate(done["error"]) if error is not None] == [7]
    assert "no such language" in done[7]["error"]
    assert done[0]["prompt"] == "Question 0?"


def test_messages_and_several_generations(simulated_endpoint: Make) -> None:
    """Keys that Arrow filled with null are not sent; generations are lists; bad rows fail."""
    user = {"role": "user", "content": "hi", "name": "ann"}
    given = dataset([{"chat": [user]}, {"chat": [{"role": "user", "content": "b"}]}, {"chat": []}])
    endpoint = simulated_endpoint(flavor="vllm")
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        ask = llm.as_map_function(input_column="chat", num_generations=2, column_prefix="ai_")
        done = given.map(ask, batched=True, features=ask.features(given.features))
    sent = [record.body["messages"][0] for record in endpoint.generations]
    assert user in sent
    assert {"role": "user", "content": "b"} in sent
    assert [len(texts) for texts in done["ai_generations"]] == [2, 2, 2]
    assert done[2]["ai_generations"] == [None, None]
    assert all("at least one message" in error for error in done[2]["ai_error"])
    assert done[0]["ai_error"] is None


def test_seeds_count_over_the_whole_dataset(simulated_endpoint: Make) -> None:
    """With `with_indices` every row has a seed of its own, whatever the batches."""
    endpoint = simulated_endpoint(flavor="vllm")
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        ask = llm.as_map_function(seed=100)
        questions(6).map(ask, batched=True, batch_size=2, with_indices=True)
    assert sorted(record.body["seed"] for record in endpoint.generations) == list(range(100, 106))


def test_the_cache_knows_the_function_and_no_secret(llm: InferenceEndpointsLLM) -> None:
    """The hash that `datasets` caches by: the same settings, the same hash, and no token in it."""
    from datasets.fingerprint import Hasher
    from datasets.utils._dill import dumps

    unloaded = InferenceEndpointsLLM(base_url=llm.base_url, api_key="another")
    hashed = Hasher.hash(llm.as_map_function(seed=1))
    assert hashed == Hasher.hash(unloaded.as_map_function(seed=1))
    assert hashed != Hasher.hash(llm.as_map_function(seed=2))
    assert CANARY.encode() not in dumps(llm.as_map_function())


def test_a_pickled_function_works_elsewhere(simulated_endpoint: Make, tmp_path: Path) -> None:
    """What comes out of a pickle asks the same of the same endpoint."""
    import dill  # type: ignore[import-untyped]

    endpoint = simulated_endpoint()
    ask = InferenceEndpointsLLM(base_url=endpoint.url).as_map_function(max_new_tokens=3)
    again = dill.loads(dill.dumps(ask))
    assert again({"prompt": ["a", "b"]})["error"] == [None, None]
    assert {record.body["max_tokens"] for record in endpoint.generations} == {3}
    again.llm.close()


def test_what_is_wrong_is_raised(llm: InferenceEndpointsLLM, simulated_endpoint: Make) -> None:
    """A parameter when it is made, columns before a request, and what ends a run."""
    with pytest.raises(ParameterError, match="temperature"):
        llm.as_map_function(temprature=1)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match="num_generations"):
        llm.as_map_function(num_generations=0)
    ask = llm.as_map_function()
    with pytest.raises(ConfigurationError, match="generation"):
        ask({"prompt": ["a"], "generation": ["theirs"]})
    with pytest.raises(ConfigurationError, match="question"):
        ask({"question": ["a"]})
    broke = simulated_endpoint(faults=(Fault(Respond(402, {"error": "no credit"})),))
    with (
        InferenceEndpointsLLM(base_url=broke.url) as poor,
        pytest.raises(CreditError, match="credit"),
    ):
        poor.as_map_function()({"prompt": ["a"]})


@pytest.mark.parametrize("shape", ["pandas", "arrow"])
def test_batches_that_are_tables_are_refused_with_the_way_out(
    llm: InferenceEndpointsLLM, shape: str
) -> None:
    """A dataset in the format of another library gives its tables to the function."""
    with pytest.raises(ConfigurationError, match=r"dataset\.with_format\(None\)\.map"):
        questions(2).with_format(shape).map(llm.as_map_function(), batched=True)


def test_rows_instead_of_batches(llm: InferenceEndpointsLLM) -> None:
    """A call of `map` that gives single rows or single columns says what to change."""
    for options in ({}, {"batched": True, "input_columns": ["prompt"]}):
        with pytest.raises(ConfigurationError, match="batched=True"):
            questions(2).map(llm.as_map_function(), **options)


def test_remarks_are_logged_once(
    llm: InferenceEndpointsLLM, caplog: pytest.LogCaptureFixture
) -> None:
    """What a run would say of the rows is in the log, not once for each batch."""
    given = dataset([{"instruction": "Sum up.", "input": f"Text {n}."} for n in range(4)])
    given.map(llm.as_map_function(), batched=True, batch_size=1)
    assert [r.message for r in caplog.records].count("read as Alpaca: instruction + input") == 1
