"""What fails: single rows, the start, and what no row can get past."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import REVOKED, Log, instructions, llm_of, new, run, spoken

from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import MagpieGenerator, TextGeneration
from distilabel.steps.tasks.base import GlobalTask
from distilabel_endpoints.errors import AuthenticationError, ConfigurationError, UnavailableError
from distilabel_endpoints.pipeline import InferenceEndpointsLLM
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


class GlobalGeneration(TextGeneration, GlobalTask):
    """A text generation that gets all rows at once."""


def generation(
    tmp_path: Path, llm: Any, task: type[TextGeneration] = TextGeneration, **attributes: Any
) -> Pipeline:
    """60 rows in batches of 10."""
    if task is not GlobalGeneration:
        attributes["input_batch_size"] = 10
    with new(tmp_path) as pipeline:
        instructions(60, batch_size=10) >> task(name="gen", llm=llm, **attributes)
    return pipeline


def test_rows_that_fail(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`None`, with the reason in the row's metadata and in one line of the log; the other rows of
    the batch are there."""
    refused = Respond(422, {"error": "no such token", "error_type": "validation"})
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(refused, marker="say 17"),))
    log = Log()
    rows = run(generation(tmp_path, llm_of(endpoint)), log, use_cache=False)
    failed = [row for row in rows if row["generation"] is None]
    assert [row["instruction"] for row in failed] == ["say 17"]
    reason = failed[0]["distilabel_metadata"]["statistics_gen"]["error"]
    assert "422" in reason
    assert "no such token" in reason
    assert [line for line in log.lines() if "422" in line] == [
        f"Row 8 of the batch has no answer: {reason}"
    ]
    assert not [name for row in rows for name in row if name.startswith("llm_")]


class Parsed(TextGeneration):
    """A program's own task, which takes an answer to pieces and does not expect none."""

    @property
    def outputs(self) -> list[str]:
        return ["length", "model_name"]

    def format_output(
        self,
        output: str | None,
        input: dict[str, Any] | None = None,  # noqa: A002 - upstream's name
    ) -> dict[str, Any]:
        return {"length": len(output)}  # type: ignore[arg-type]


def test_rows_that_fail_in_a_task_of_ones_own(simulated_endpoint: Make, tmp_path: Path) -> None:
    """The reason stays in the metadata, though the task cannot make sense of the row."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(422), marker="say 17"),))
    rows = run(generation(tmp_path, llm_of(endpoint), Parsed), use_cache=False)
    assert [row["instruction"] for row in rows if row["length"] is None] == ["say 17"]
    errors = [row["distilabel_metadata"]["statistics_gen"]["error"] for row in rows]
    assert [bool(error) for error in errors] == [number == 17 for number in range(60)]


def test_rows_that_cannot_be_sent(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A row whose conversation or schema is wrong is `None` with its reason; the others are
    sent."""
    endpoint = simulated_endpoint(flavor="tgi")
    data = [{"instruction": text} for text in ("one", "half \ud800", "three")]
    with new(tmp_path) as pipeline:
        LoadDataFromDicts(data=data) >> TextGeneration(name="gen", llm=llm_of(endpoint))
    task = pipeline.dag.get_step("gen")["step"]
    task.load()
    (rows,) = task.process(data)
    task.unload()
    assert [row["generation"] is None for row in rows] == [False, True, False]
    assert "surrogate" in rows[1]["distilabel_metadata"]["statistics_gen"]["error"]
    assert sorted(spoken(endpoint)) == ["one", "three"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_error_for_all_stops_and_resumes(
    simulated_endpoint: Make, tmp_path: Path, replicas: int
) -> None:
    """The pipeline raises it instead of filling batches with `None`; run again, it sends what was
    not answered, and that only."""
    endpoint = simulated_endpoint(flavor="tgi", faults=REVOKED)

    def program() -> Pipeline:
        return generation(tmp_path, llm_of(endpoint), resources={"replicas": replicas})

    log = Log()
    with pytest.raises(AuthenticationError, match="401"):
        run(program(), log)
    (line,) = [line for line in log.lines("distilabel.pipeline") if "gen" in line]
    assert "run it again to resume" in line
    assert "None" not in "".join(log.lines())
    endpoint.clear_faults()
    done = {f"say {number}" for number in range(60)} - set(spoken(endpoint))
    before = len(endpoint.generations)
    rows = run(program())
    assert [row["instruction"] for row in rows] == [f"say {number}" for number in range(60)]
    assert all(row["generation"] for row in rows)
    later = spoken(endpoint)[before:]
    assert done <= set(later)
    # Batches that were answered are not sent again.
    assert len(later) <= 60 - 20


def test_a_global_step_stops_and_resumes(simulated_endpoint: Make, tmp_path: Path) -> None:
    """So does a task that gets all rows at once."""
    endpoint = simulated_endpoint(flavor="tgi", faults=REVOKED)
    with pytest.raises(AuthenticationError):
        run(generation(tmp_path, llm_of(endpoint), GlobalGeneration))
    endpoint.clear_faults()
    rows = run(generation(tmp_path, llm_of(endpoint), GlobalGeneration))
    assert [row["instruction"] for row in rows] == [f"say {number}" for number in range(60)]
    assert all(row["generation"] for row in rows)


def test_a_generator_stops(simulated_endpoint: Make, tmp_path: Path, tokenizer: str) -> None:
    """So does one that begins the pipeline; upstream would wait for it for ever."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(401)),))
    llm = llm_of(endpoint, tokenizer_id=tokenizer, magpie_pre_query_template="qwen2")
    with new(tmp_path) as pipeline:
        MagpieGenerator(llm=llm, num_rows=12, batch_size=6, only_instruction=True)
    with pytest.raises(AuthenticationError):
        run(pipeline)


def test_an_endpoint_that_goes_away_stops_it(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Nothing but failures for `wait_ready` seconds."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(503), after=3.0),))
    pipeline = generation(tmp_path, llm_of(endpoint, wait_ready=1.0))
    with pytest.raises(UnavailableError):
        run(pipeline, use_cache=False)


def failing_load(pipeline: Pipeline) -> BaseException | None:
    """Why the steps could not be loaded."""
    with pytest.raises(RuntimeError, match="Failed to load all the steps") as caught:
        run(pipeline, use_cache=False)
    return caught.value.__cause__


def test_nothing_listens(unused_port: int, tmp_path: Path) -> None:
    """The pipeline ends before its first row, with our words."""
    llm = InferenceEndpointsLLM(base_url=f"http://127.0.0.1:{unused_port}")
    cause = failing_load(generation(tmp_path, llm))
    assert isinstance(cause, UnavailableError)
    assert str(unused_port) in str(cause)


def test_settings_that_do_not_fit_the_server(
    simulated_endpoint: Make, tmp_path: Path, tokenizer: str
) -> None:
    """So do settings that only the server can judge; nothing is sent."""
    endpoint = simulated_endpoint(flavor="vllm")
    cause = failing_load(generation(tmp_path, llm_of(endpoint, tokenizer_id=tokenizer)))
    assert isinstance(cause, ConfigurationError)
    assert "use_openai_client=True" in str(cause)
    assert not endpoint.generations


def test_prompts_are_not_logged(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Not by a row's failure, and not by the run's."""
    refused = Respond(422, {"error": "no such token", "error_type": "validation"})
    faults = (Fault(refused, marker="say 17"), *REVOKED)
    endpoint = simulated_endpoint(flavor="tgi", faults=faults)
    log = Log()
    with pytest.raises(AuthenticationError):
        run(generation(tmp_path, llm_of(endpoint, api_key="a-secret")), log)
    said = json.dumps(log.lines("", 0))
    assert "say " not in said
    assert "a-secret" not in said
