"""Batch lines and settings of thinking on a real model, as llama.cpp takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from batch_files import read_lines, write_lines

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.local import LocalEndpoint

ASK = [{"role": "user", "content": "What is the capital of France?"}]


def test_a_batch_file_is_answered_as_the_server_answers_it(
    local_endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    """Each body, posted by hand, gets the same choice and the same count."""
    bodies: list[dict[str, Any]] = [
        {"model": "m", "messages": ASK, "max_tokens": 8, "temperature": 0},
        {"model": "m", "messages": ASK, "max_tokens": 4, "temperature": 0, "logprobs": True},
        {"model": "m", "messages": ASK, "temperature": 0, "grammar": 'root ::= "Paris" | "Rome"'},
    ]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies)
    ]
    source = write_lines(tmp_path / "batch.jsonl", lines)
    llm = InferenceEndpointsLLM(base_url=local_endpoint.base_url, served_model="m", stream=False)
    with pytest.warns(UserWarning, match="is not among the models"):
        generate_dataset(llm, source, tmp_path / "out.jsonl")
    for number, line in read_lines(tmp_path / "out.jsonl").items():
        url = f"{local_endpoint.base_url}/v1/chat/completions"
        direct = httpx2.post(url, json=bodies[int(number)], timeout=60).json()
        ours, theirs = line["response"]["body"]["choices"][0], direct["choices"][0]
        assert ours["message"]["content"] == theirs["message"]["content"]
        assert ours["finish_reason"] == theirs["finish_reason"]
        counted = line["response"]["body"]["usage"]
        assert counted["completion_tokens"] == direct["usage"]["completion_tokens"]
        if bodies[int(number)].get("logprobs"):
            tokens = [entry["token"] for entry in theirs["logprobs"]["content"]]
            assert [entry["token"] for entry in ours["logprobs"]["content"]] == tokens


@pytest.mark.parametrize("setting", ["off", "high", 16])
def test_settings_of_thinking_are_taken(local_endpoint: LocalEndpoint, setting: Any) -> None:
    """A model without thinking answers as ever; the server refuses none of our fields."""
    outputs = [
        InferenceEndpointsLLM(base_url=local_endpoint.base_url, reasoning=each).generate_outputs(
            [ASK], temperature=0, max_new_tokens=8
        )[0]
        for each in (None, setting)
    ]
    assert outputs[1]["errors"] == [None]
    assert outputs[1]["generations"] == outputs[0]["generations"]
