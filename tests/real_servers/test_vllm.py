"""What is compiled to vLLM's own fields, on the real vLLM: labels, thinking, batch files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import real_servers
from restart import check_a_run_over_a_restart

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]

SOUP = [{"role": "user", "content": "Cold soup. Is that positive, negative or neutral?"}]


@pytest.fixture(scope="module")
def server() -> Iterator[real_servers.RealServer]:
    with real_servers.vllm() as started:
        yield started


@pytest.fixture(params=[False, True], ids=["hub", "openai"])
def settings(request: pytest.FixtureRequest, server: real_servers.RealServer) -> dict[str, Any]:
    return {"base_url": server.base_url, "use_openai_client": request.param}


def test_labels(settings: dict[str, Any]) -> None:
    """Each label has a share, and together they are 1."""
    labels = ["positive", "negative", "neutral"]
    with InferenceEndpointsLLM(**settings, labels=labels) as llm:
        (output,) = llm.generate_outputs([SOUP])
    (shares,) = output["distributions"]
    assert shares is not None
    assert set(shares) == set(labels)
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("reasoning", ["off", "low"])
def test_reasoning_is_taken(settings: dict[str, Any], reasoning: str) -> None:
    """The server takes the field, and a model that does not think answers as it always does."""
    with InferenceEndpointsLLM(**settings, reasoning=reasoning) as llm:
        assert llm.generate([SOUP], max_new_tokens=5)[0][0]


def test_a_batch_file_is_answered_as_by_run_batch(
    server: real_servers.RealServer, tmp_path: Path
) -> None:
    """The same ids with the same status, and lines with the same fields, for the same file."""
    source, theirs, ours = (tmp_path / name for name in ("in.jsonl", "theirs.jsonl", "ours.jsonl"))
    lines = [
        {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": real_servers.MODEL,
                "messages": [{"role": "user", "content": f"Name a town. Number {number}."}],
                "max_tokens": 8,
                "temperature": 0,
            },
        }
        for number in range(20)
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with InferenceEndpointsLLM(base_url=server.base_url) as llm:
        generate_dataset(llm, str(source), str(ours))
    real_servers.vllm_run_batch(source, theirs)
    read: list[dict[str, dict[str, Any]]] = []
    for path in (theirs, ours):
        parsed = [json.loads(line) for line in path.read_text().splitlines()]
        read.append({line["custom_id"]: line for line in parsed})
    assert list(read[0]) == list(read[1])
    texts: list[list[str]] = [[], []]
    for name, line in read[0].items():
        answers = (line, read[1][name])
        assert set(answers[0]) == set(answers[1])
        assert [answer["response"]["status_code"] for answer in answers] == [200, 200]
        for answer, kept in zip(answers, texts, strict=True):
            body = answer["response"]["body"]
            kept.append(body["choices"][0]["message"]["content"])
            assert body["usage"]["completion_tokens"] <= 8
    # Batches of other sizes round otherwise: nearly all texts are equal, not all.
    assert sum(one == other for one, other in zip(*texts, strict=True)) >= 16


def test_a_server_that_is_killed_in_the_middle_of_a_run(
    settings: dict[str, Any], server: real_servers.RealServer, tmp_path: Path
) -> None:
    """It is started again; what was in flight is sent again, and no row is lost or failed."""
    check_a_run_over_a_restart(server, settings, tmp_path / "out.jsonl", rows=60)
