"""Other processes: started in another way, several for one step, and over Ray."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import REVOKED, instructions, llm_of, new, rows_of, run, spoken

from distilabel.steps.tasks import TextGeneration
from distilabel_endpoints.pipeline import InferenceEndpointsLLM
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
HELLO = [{"role": "user", "content": "Hello world!"}]

PROGRAM = """
import multiprocessing, sys

if __name__ == "__main__" and sys.argv[3] != "default":
    multiprocessing.set_start_method(sys.argv[3])

from {module} import InferenceEndpointsLLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

if __name__ == "__main__":
    with Pipeline(name="program", cache_dir=sys.argv[2]) as pipeline:
        load = LoadDataFromDicts(data=[{{"instruction": f"say {{i}}"}} for i in range(6)])
        llm = InferenceEndpointsLLM(
            base_url=sys.argv[1], api_key="a-key", headers={{"x-team": "blue"}}
        )
        load >> TextGeneration(llm=llm)
    rows = pipeline.run(use_cache=False)["default"]["train"]
    print("answered", sum(map(bool, rows["generation"])))
"""
"""A program whose arguments are the endpoint, a folder, and how processes are started."""


def run_program(
    folder: Path, endpoint: SimulatedEndpoint, module: str, method: str, *through: str
) -> None:
    """Run it with the class of `module`; six rows, with key and header, come to the endpoint."""
    (folder / "program.py").write_text(PROGRAM.format(module=module))
    arguments = ["program.py", endpoint.url, str(folder / "cache"), method]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *through, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "answered 6" in done.stdout, done.stderr[-2000:]
    assert len(endpoint.generations) == 6
    for record in endpoint.generations:
        assert record.headers["authorization"] == "Bearer a-key"
        assert record.headers["x-team"] == "blue"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_not_forked(
    simulated_endpoint: Make, tmp_path: Path, method: str
) -> None:
    """The import of the documentation; explicit keys and headers get to where they are needed."""
    endpoint = simulated_endpoint(flavor="tgi")
    run_program(tmp_path, endpoint, "distilabel.llms.huggingface", method)


def test_a_program_that_is_not_touched(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`python -m distilabel_endpoints.pipeline PROGRAM.py`: our class under upstream's name, as
    the argument that only ours has shows."""
    endpoint = simulated_endpoint(flavor="tgi")
    through = ("-m", "distilabel_endpoints.pipeline")
    run_program(tmp_path, endpoint, "distilabel.models", "default", *through)


def test_replicas(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Each process has an engine of its own; the rows come back whole and in order."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        instructions(60, batch_size=10) >> TextGeneration(
            llm=llm_of(endpoint), input_batch_size=10, resources={"replicas": 2}
        )
    rows = run(pipeline, use_cache=False)
    assert [row["instruction"] for row in rows] == [f"say {number}" for number in range(60)]
    assert sorted(spoken(endpoint)) == sorted(f"say {number}" for number in range(60))


def test_one_engine_for_all_batches(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Connections and what the limiter has learned stay from batch to batch."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        instructions(60, batch_size=10) >> TextGeneration(llm=llm_of(endpoint), input_batch_size=10)
    run(pipeline, use_cache=False)
    asked = [record.path for record in endpoint.requests if record.path == "/info"]
    assert len(asked) == 1


def test_without_a_pipeline(simulated_endpoint: Make) -> None:
    """Used alone, the object has upstream's shapes, blocking and awaited."""
    endpoint = simulated_endpoint(flavor="tgi")
    llm = llm_of(endpoint, generation_kwargs={"max_new_tokens": 9})
    llm.load()
    (output,) = llm.generate_outputs([HELLO], num_generations=2)
    assert len(output["generations"]) == 2
    assert {len(values) for values in output["statistics"].values()} == {2}

    async def several() -> list[dict[str, Any]]:
        return await asyncio.gather(*(llm.agenerate(input=HELLO) for _ in range(20)))

    assert all(one["generations"][0] for one in asyncio.run(several()))
    assert all(record.body["max_tokens"] == 9 for record in endpoint.generations)
    assert llm.standalone().generate([HELLO])[0][0]
    llm.unload()


class Shouting(InferenceEndpointsLLM):
    """A program's own subclass: it changes what is sent, and how long answers are."""

    async def agenerate(self, input: Any, num_generations: int = 1, **kwargs: Any) -> Any:  # noqa: A002
        loud = [{**message, "content": message["content"].upper()} for message in input]
        return await super().agenerate(loud, num_generations, **kwargs)

    def get_generation_kwargs(self) -> dict[str, Any]:
        return {**super().get_generation_kwargs(), "max_new_tokens": 5}


def test_a_subclass_is_obeyed(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Its `agenerate` and its `get_generation_kwargs` decide."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        instructions(8) >> TextGeneration(llm=Shouting(base_url=endpoint.url), num_generations=2)
    assert len(run(pipeline, use_cache=False)) == 16
    assert set(spoken(endpoint)) == {f"SAY {number}" for number in range(8)}
    assert all(record.body["max_tokens"] == 5 for record in endpoint.generations)


@pytest.mark.ray
def test_over_ray(
    simulated_endpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pipeline on a Ray of this machine; an error for all stops it there, too."""
    ray = pytest.importorskip("ray")
    from distilabel_endpoints.errors import AuthenticationError

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    endpoint = simulated_endpoint(flavor="tgi", faults=REVOKED)

    def program() -> Any:
        with new(tmp_path) as pipeline:
            instructions(60, batch_size=10) >> TextGeneration(
                llm=llm_of(endpoint, api_key="a-key", headers={"x-team": "blue"}),
                input_batch_size=10,
            )
        return pipeline.ray(ray_init_kwargs={"num_cpus": 4, "include_dashboard": False})

    with pytest.raises(AuthenticationError):
        program().run()
    ray.shutdown()
    endpoint.clear_faults()
    rows = rows_of(program().run())
    ray.shutdown()
    assert [row["instruction"] for row in rows] == [f"say {number}" for number in range(60)]
    assert all(row["generation"] for row in rows)
    assert {record.headers["authorization"] for record in endpoint.generations} == {"Bearer a-key"}
