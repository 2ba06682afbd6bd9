"""`on_row`: the caller's function per finished row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM, Output, generate_dataset
from distilabel_endpoints.errors import ConfigurationError, UserCodeError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def run(endpoint: SimulatedEndpoint, rows: Any, output: Path, **more: Any) -> None:
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        generate_dataset(llm, rows, output, progress=open_progress("quiet"), **more)


def test_every_row_is_passed_once(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Answered and failed rows alike, each with its place in the input."""
    rows: list[dict[str, Any]] = [{"prompt": f"Question {n}?"} for n in range(20)]
    rows[7] = {"prompt": 3}
    seen: list[Output] = []
    run(simulated_endpoint(flavor="vllm"), rows, tmp_path / "a.jsonl", on_row=seen.append)
    assert sorted(output["index"] for output in seen) == list(range(20))
    assert [output["index"] for output in seen if output["errors"][0]] == [7]


def test_an_error_in_it_stops_the_run_resumably(simulated_endpoint: Make, tmp_path: Path) -> None:
    """The error names the row; every answer is kept, and the same call sends only what is left."""
    endpoint = simulated_endpoint(flavor="vllm")
    rows = [{"prompt": f"Question {n}?"} for n in range(400)]
    calls: list[int] = []

    def fail(output: Output) -> None:
        calls.append(output["index"])
        raise ValueError("no idea")

    with pytest.raises(UserCodeError, match=r"on_row raised an error at row .*no idea") as caught:
        run(endpoint, rows, tmp_path / "out.jsonl", on_row=fail)
    assert calls == [caught.value.index]
    assert isinstance(caught.value.__cause__, ValueError)
    answered = len(endpoint.generations)
    assert answered < 400
    seen: list[int] = []
    run(endpoint, rows, tmp_path / "out.jsonl", on_row=lambda output: seen.append(output["index"]))
    assert len(endpoint.generations) == 400
    assert len(seen) == 400 - answered
    made = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(row["generation"] for row in made)


def test_over_ray_it_is_refused(tmp_path: Path) -> None:
    """Before anything starts, with what to do instead."""
    llm = InferenceEndpointsLLM(base_url="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="on_row cannot be used with ray"):
        generate_dataset(llm, "in.jsonl", tmp_path, ray="local", on_row=print)
