"""Generation over real Ray actors, against the simulated endpoint over real sockets."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.errors import ConfigurationError, ParameterError
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.ray import generate_ray, read_rows, write_shards
from distilabel_endpoints.testing import Fault, Latency, SimulatedEndpoint, Throttle, Token

Make = Callable[..., SimulatedEndpoint]
CANARY = "hf_canaryOfTheRaySession0123456789"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in the driver's process
]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Where a test's output goes."""
    return tmp_path / "out"


def write_rows(path: Path, count: int) -> Path:
    """Rows of text, one that is not JSON, and one without a prompt."""
    lines = [json.dumps({"id": n, "prompt": f"Question {n}?"}) for n in range(count)]
    lines[3] = "not json"
    lines[5] = json.dumps({"id": 5})
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """All rows of the shards, by their place in the input."""
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return sorted(rows, key=lambda row: str(row["row_id"]))


def questions(endpoint: SimulatedEndpoint) -> list[str]:
    """What was asked and answered, one entry for each answer."""
    return [r.body["messages"][-1]["content"] for r in endpoint.generations if r.status == 200]


def test_the_same_as_one_process(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """Shards hold what a run of one process writes, every row once, below the ceiling."""
    endpoint = simulated_endpoint(flavor="vllm")
    path = write_rows(tmp_path / "in.jsonl", 300)
    asked: dict[str, Any] = {"num_generations": 2, "max_new_tokens": 6, "seed": 7}
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=9) as llm:
        alone = tmp_path / "alone.parquet"
        quiet = open_progress("quiet")
        distilabel_endpoints.generate_dataset(llm, path, alone, progress=quiet, **asked)
        endpoint.clear_log()
        ds = generate_ray(llm, read_rows(str(path)), rows_per_block=32, **asked)
        write_shards(ds, shards)
        assert endpoint.peak_in_flight <= 9
    expected = pq.read_table(alone).to_pylist()
    found = rows_in(shards)
    assert len({row["row_id"] for row in found}) == len(found) == 300
    for row in [*found, *expected]:
        row.pop("row_id", None)
        if row["error"] is not None:  # where the row stands is said in other words
            row["error"] = [said.split("0: ")[-1].split(": ", 2)[-1] for said in row["error"]]
    assert [row["error"] is not None for row in found[:7]] == [n in {3, 5} for n in range(7)]
    assert [row["generations"] for row in found] == [row["generations"] for row in expected]
    assert found[0].keys() == expected[0].keys()
    assert [{**row, "error": None} for row in found] == [{**row, "error": None} for row in expected]


def test_a_bad_token_ends_the_execution(ray_session: Path, simulated_endpoint: Make) -> None:
    """Our error's class and text are in what the dataset raises, and no row is sent for ever."""
    import ray

    endpoint = simulated_endpoint(tokens=(Token("hf_other"),), flavor="vllm")
    llm = InferenceEndpointsLLM(base_url=endpoint.url, api_key="of the driver")
    rows = [{"prompt": f"Question {n}?"} for n in range(50)]
    ds = generate_ray(llm, ray.data.from_items(rows), api_key_env="WORKER_TOKEN")
    with pytest.raises(Exception, match="AuthenticationError") as caught:
        ds.materialize()
    assert "401" in str(caught.value)
    assert "of the driver" not in str(caught.value)


@pytest.mark.prove
def test_pauses_and_the_ceiling_are_shared(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """After one worker's Retry-After nobody sends; no more than the ceiling are ever in flight."""
    endpoint = simulated_endpoint(
        flavor="vllm",
        latency=Latency(0.05),
        faults=(Fault(Throttle(2.0), nth=60),),
    )
    path = write_rows(tmp_path / "in.jsonl", 400)
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=12) as llm:
        ds = generate_ray(llm, read_rows(str(path)), actors=3, rows_per_block=32, max_new_tokens=4)
        write_shards(ds, shards)
    assert endpoint.peak_in_flight <= 12
    refused = next(r for r in endpoint.generations if r.status == 429)
    assert refused.end is not None
    during = [r for r in endpoint.generations if 0.6 < r.arrival - refused.end < 1.9]
    assert during == []
    assert sorted(questions(endpoint)) == sorted(set(questions(endpoint)))
    assert sum(row["error"] is None for row in rows_in(shards)) == 398


@pytest.mark.prove
def test_a_stage_is_done_after_the_one_that_it_shares_a_ceiling_with_is_gone(
    ray_session: Path, simulated_endpoint: Make
) -> None:
    """The coordinator ends with the stage that made it; the other's rows waited for ever."""
    import ray

    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    rows = [{"prompt": f"Question {n}?"} for n in range(20)]
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=5) as llm:
        first, second = (
            generate_ray(llm, ray.data.from_items(rows), actors=1, max_new_tokens=4)
            for _ in range(2)
        )
        first.materialize()
        del first
        gc.collect()
        assert second.materialize().count() == 20
    assert endpoint.peak_in_flight <= 5


def most_at_once(*endpoints: SimulatedEndpoint) -> int:
    """Generating requests in flight at one instant at most, at all endpoints together."""
    seen = [record for endpoint in endpoints for record in endpoint.generations]
    ends = [(record.end, -1) for record in seen if record.end is not None]
    changes = sorted([(record.arrival, 1) for record in seen] + ends)
    return max(accumulate(change for _, change in changes))


@pytest.mark.prove
def test_several_endpoints_share_a_jobs_rows_and_ceiling(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """Every row once, both endpoints used alike, and no more in flight at both than the ceiling."""
    first, second = (simulated_endpoint(flavor="vllm", latency=Latency(0.05)) for _ in range(2))
    path = write_rows(tmp_path / "in.jsonl", 600)
    with InferenceEndpointsLLM(base_url=[first.url, second.url], max_concurrency=12) as llm:
        ds = generate_ray(llm, read_rows(str(path)), actors=3, rows_per_block=32, max_new_tokens=4)
        write_shards(ds, shards)
    found = rows_in(shards)
    assert len({row["row_id"] for row in found}) == len(found) == 600
    assert [row["id"] for row in found if row["error"] is not None] == [None, 5]
    answered = [questions(first), questions(second)]
    assert sorted([*answered[0], *answered[1]]) == sorted(
        f"Question {n}?" for n in range(600) if n not in {3, 5}
    )
    assert min(map(len, answered)) > 150  # the first to be asked looks slow for a while
    assert 9 <= most_at_once(first, second) <= 12


@pytest.mark.prove
def test_a_pause_is_its_endpoints_alone(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """After one endpoint's Retry-After no worker sends to it, and the other goes on answering."""
    throttle = Fault(Throttle(2.0), nth=60)
    first = simulated_endpoint(flavor="vllm", latency=Latency(0.05), faults=(throttle,))
    second = simulated_endpoint(flavor="vllm", latency=Latency(0.05))
    path = write_rows(tmp_path / "in.jsonl", 1200)
    with InferenceEndpointsLLM(base_url=[first.url, second.url], max_concurrency=12) as llm:
        ds = generate_ray(llm, read_rows(str(path)), actors=3, rows_per_block=32, max_new_tokens=4)
        write_shards(ds, shards)
    refused = next(r for r in first.generations if r.status == 429)
    assert refused.end is not None
    during = [
        [r for r in endpoint.generations if 0.6 < r.arrival - refused.end < 1.9]
        for endpoint in (first, second)
    ]
    assert during[0] == []
    assert len(during[1]) > 50
    assert most_at_once(first, second) <= 12
    assert sum(row["error"] is None for row in rows_in(shards)) == 1198


@pytest.mark.prove
def test_no_secret_reaches_rays_files(ray_session: Path, simulated_endpoint: Make) -> None:
    """The workers' token is used, and stands in no file of Ray's session."""
    import ray

    endpoint = simulated_endpoint(tokens=(Token(CANARY),), flavor="vllm")
    llm = InferenceEndpointsLLM(base_url=endpoint.url, api_key=CANARY)
    rows = [{"prompt": f"Question {n}?"} for n in range(20)]
    ds = generate_ray(llm, ray.data.from_items(rows), api_key_env="WORKER_TOKEN")
    assert all(row["error"] is None for row in ds.take_all())
    files = [path for path in ray_session.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


def test_what_can_be_known_is_refused_before_the_start(ray_session: Path) -> None:
    """Secrets, parameters, counts and columns are checked where the stage is asked for."""
    import ray

    ds = ray.data.from_items([{"prompt": "a", "generation": "b"}])
    llm = InferenceEndpointsLLM(base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="generation"):
        generate_ray(llm, ds)
    with pytest.raises(ConfigurationError, match="no column"):
        generate_ray(llm, ds.select_columns(["generation"]), column_prefix="a_")
    with pytest.raises(ParameterError):
        generate_ray(llm, ds, column_prefix="a_", temperature=-1)
    with pytest.raises(ConfigurationError, match="actors"):
        generate_ray(llm, ds, column_prefix="a_", actors=0)
    with pytest.raises(ConfigurationError, match="api_key_env"):
        generate_ray(InferenceEndpointsLLM(base_url="http://127.0.0.1:1", api_key="x"), ds)
    with pytest.raises(ConfigurationError, match="on_bad_row"):
        generate_ray(llm, ds, column_prefix="a_", on_bad_row="stop")


def shouting() -> type[InferenceEndpointsLLM]:
    """A class as a script has one: workers cannot import it, so it travels by value."""

    class Shouting(InferenceEndpointsLLM):
        async def agenerate(self, input: Any, *rest: Any, **parameters: Any) -> list[str | None]:  # noqa: A002
            loud = [{**message, "content": message["content"].upper()} for message in input]
            return await super().agenerate(loud, *rest, **parameters)

    return Shouting


def test_a_subclass_answers_on_the_workers(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path, shards: Path
) -> None:
    """A program's own class travels to the actors, and its `agenerate` answers every row."""

    endpoint = simulated_endpoint(flavor="vllm")
    path = write_rows(tmp_path / "in.jsonl", 20)
    with shouting()(base_url=endpoint.url) as llm:
        write_shards(generate_ray(llm, read_rows(str(path)), rows_per_block=8), shards)
    assert questions(endpoint)
    assert all(question.startswith("QUESTION ") for question in questions(endpoint))
    assert sum(row["error"] is None for row in rows_in(shards)) == 18


def test_a_sticky_provider_is_not_for_a_pipeline() -> None:
    """Workers of a stage would each keep to another provider: refused, with what to do instead."""
    llm = InferenceEndpointsLLM(model_id="org/model", provider="sticky")
    with pytest.raises(ConfigurationError, match=r"generate_dataset\(\.\.\., ray=\.\.\.\)"):
        generate_ray(llm, None)
