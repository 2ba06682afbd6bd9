"""Settings: runtime parameters, what is saved and loaded, signatures and the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_runs import Log, instructions, llm_of, new, rows_of, run, spoken
from pydantic import ValidationError

from distilabel.models.llms.huggingface.inference_endpoints import (
    InferenceEndpointsLLM as UpstreamLLM,
)
from distilabel.pipeline import Pipeline
from distilabel.steps.tasks import TextGeneration
from distilabel_endpoints import InferenceEndpointsLLM as EndpointsLLM
from distilabel_endpoints.pipeline import InferenceEndpointsLLM
from distilabel_endpoints.pipeline.fields import NOT_IN_SIGNATURE
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def one_step(tmp_path: Path, llm: Any, count: int = 30, **attributes: Any) -> Pipeline:
    """Rows into one text generation named `gen`."""
    with new(tmp_path) as pipeline:
        instructions(count, batch_size=10) >> TextGeneration(
            name="gen", llm=llm, input_batch_size=10, **attributes
        )
    return pipeline


def test_every_attribute_of_ours_is_there() -> None:
    """With our defaults, and as a runtime parameter where upstream's are."""
    llm = InferenceEndpointsLLM(base_url="http://localhost:1")
    names = llm.runtime_parameters_names
    not_at_run_time = {"model_id", "tokenizer_id", "model_display_name"}
    for name, field in EndpointsLLM.model_fields.items():
        if name != "api_key":
            assert (getattr(llm, name) or None) == (getattr(llm.standalone(), name) or None)
        assert (name in names) == (name not in not_at_run_time), name
        assert names.get(name, True), f"{name} would have to be given"
        assert field.repr == InferenceEndpointsLLM.model_fields[name].repr
    assert set(EndpointsLLM.model_fields) >= NOT_IN_SIGNATURE
    assert "top_n_tokens" in names["generation_kwargs"]
    assert all(names["generation_kwargs"].values())


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "Give one of model_id, endpoint_name and base_url"),
        ({"model_id": "a/b", "endpoint_name": "c"}, "Keep one"),
        ({"base_url": "localhost"}, "not an http"),
        ({"base_url": "http://localhost", "max_concurrency": 0}, "greater than or equal to 1"),
        ({"base_url": "http://localhost", "on_length": "sing"}, "on_length"),
        ({"base_url": "http://localhost", "generation_kwargs": {"temprature": 1}}, "temperature"),
        ({"base_url": "http://localhost", "structured_output": {"format": "xml"}}, "format"),
        (
            {
                "base_url": "http://localhost",
                "use_magpie_template": True,
                "magpie_pre_query_template": "qwen2",
            },
            "tokenizer_id",
        ),
        ({"base_url": "http://localhost", "max_tokens": 3}, "max_tokens"),
    ],
)
def test_wrong_settings_are_errors_at_once(attributes: dict[str, Any], message: str) -> None:
    """When the object is made, not row by row."""
    with pytest.raises(ValidationError, match=message):
        InferenceEndpointsLLM(**attributes)


def test_runtime_parameters(simulated_endpoint: Make, tmp_path: Path) -> None:
    """`Pipeline.run(parameters=...)` sets generation parameters, limits and another endpoint."""
    first, second = simulated_endpoint(flavor="tgi"), simulated_endpoint(flavor="tgi")
    pipeline = one_step(tmp_path, llm_of(first, generation_kwargs={"temperature": 0.1}))
    llm = {
        "base_url": second.url,
        "max_concurrency": 2,
        "headers": {"x-team": "red"},
        "api_key": "other",
        "generation_kwargs": {"max_new_tokens": 7, "do_sample": True},
    }
    parameters = {"gen": {"llm": llm, "num_generations": 2}}
    rows = run(pipeline, parameters=parameters, use_cache=False)
    assert len(rows) == 60
    assert not first.generations
    assert second.peak_in_flight <= 2
    for record in second.generations:
        assert record.body["max_tokens"] == 7
        assert "temperature" not in record.body
        assert record.headers["x-team"] == "red"
        assert record.headers["authorization"] == "Bearer other"


def test_a_wrong_runtime_parameter_ends_before_the_start(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """`run` raises, and nothing is sent."""
    endpoint = simulated_endpoint(flavor="tgi")
    pipeline = one_step(tmp_path, llm_of(endpoint))
    wrong = {"gen": {"llm": {"generation_kwargs": {"max_new_token": 7}}}}
    with pytest.raises(ValidationError, match="Did you mean 'max_new_tokens'"):
        run(pipeline, parameters=wrong, use_cache=False)
    assert not endpoint.requests


def test_secrets_are_not_saved(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Neither in the saved pipeline nor in the cache; all else is, and loads again."""
    endpoint = simulated_endpoint(flavor="tgi")
    secrets = {"api_key": "a-secret-key", "headers": {"x-secret": "a-secret-value"}}
    given = {"max_concurrency": 3, "on_length": "grow:2x", "base_url": [endpoint.url]}
    pipeline = one_step(tmp_path, InferenceEndpointsLLM(**given, **secrets), count=10)
    pipeline.save(tmp_path / "saved.yaml", format="yaml")
    run(pipeline)
    files = [tmp_path / "saved.yaml", *(tmp_path / "cache").rglob("*.*")]
    assert not [file for file in files if file.is_file() and b"a-secret" in file.read_bytes()]
    loaded = Pipeline.from_yaml(tmp_path / "saved.yaml").dag.get_step("gen")["step"].llm
    assert type(loaded) is InferenceEndpointsLLM
    assert {name: getattr(loaded, name) for name in given} == given
    assert "a-secret" not in repr(pipeline.dag.get_step("gen")["step"])


def test_a_saved_pipeline_runs(simulated_endpoint: Make, tmp_path: Path) -> None:
    """With the rows given at the run: upstream leaves those of a step out of the file."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        TextGeneration(name="gen", llm=llm_of(endpoint, max_concurrency=2))
    pipeline.save(tmp_path / "saved.yaml", format="yaml")
    data = [{"instruction": f"other {number}"} for number in range(7)]
    rows = run(Pipeline.from_yaml(tmp_path / "saved.yaml"), dataset=data, use_cache=False)
    assert all(row["generation"] for row in rows)
    assert sorted(spoken(endpoint)) == [f"other {number}" for number in range(7)]


def test_pipelines_of_old_versions_load(simulated_endpoint: Make, tmp_path: Path) -> None:
    """The class has another path in what distilabel 1.4 and older saved."""
    endpoint = simulated_endpoint(flavor="tgi")
    saved = tmp_path / "saved.yaml"
    one_step(tmp_path, UpstreamLLM(base_url=endpoint.url, api_key="x")).save(saved, format="yaml")
    values = yaml.safe_load(saved.read_text())
    llm = values["pipeline"]["steps"][1]["step"]["llm"]
    llm["type_info"]["module"] = "distilabel.llms.huggingface.inference_endpoints"
    llm["use_openai_client"] = True
    saved.write_text(yaml.safe_dump(values))
    loaded = Pipeline.from_yaml(saved).dag.get_step("gen")["step"].llm
    assert type(loaded) is InferenceEndpointsLLM
    assert loaded.use_openai_client


def test_the_cache_knows_what_was_answered(simulated_endpoint: Make, tmp_path: Path) -> None:
    """The same settings, or others of the limits alone: nothing is sent again. Another
    temperature: all of it."""
    endpoint = simulated_endpoint(flavor="tgi")
    first = run(one_step(tmp_path, llm_of(endpoint, api_key="k")))
    assert len(endpoint.generations) == 30
    again = llm_of(endpoint, api_key="other", max_concurrency=3, wait_ready=60.0, timeout=9.0)
    assert run(one_step(tmp_path, again)) == first
    assert len(endpoint.generations) == 30
    run(one_step(tmp_path, llm_of(endpoint, generation_kwargs={"temperature": 0.5})))
    assert len(endpoint.generations) == 60


def test_a_run_from_the_cache_has_its_secrets(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Upstream loads the saved pipeline over the program's own: key and headers still arrive, and
    a token that was only found is not taken for one that was given."""
    endpoint = simulated_endpoint(flavor="tgi")
    secrets = {"api_key": "k", "headers": {"x-team": "blue"}}
    run(one_step(tmp_path, llm_of(endpoint, **secrets)))
    pipeline = one_step(tmp_path, llm_of(endpoint, **secrets))
    pipeline.dag.get_step("gen")["step"].use_cache = False
    before = len(endpoint.generations)
    run(pipeline)
    assert len(endpoint.generations) == before + 30
    for record in endpoint.generations:
        assert record.headers["authorization"] == "Bearer k"
        assert record.headers["x-team"] == "blue"


def test_dry_run(simulated_endpoint: Make, tmp_path: Path) -> None:
    """One row, and nothing in the cache."""
    endpoint = simulated_endpoint(flavor="tgi")
    rows = rows_of(one_step(tmp_path, llm_of(endpoint)).dry_run())
    assert len(rows) == 1
    assert spoken(endpoint) == ["say 0"]


def test_offline_batches_are_refused(simulated_endpoint: Make, tmp_path: Path) -> None:
    """The fields of offline batches are there, at their defaults; used, they are an error."""
    endpoint = simulated_endpoint(flavor="tgi")
    llm = llm_of(endpoint)
    fields = ("use_offline_batch_generation", "offline_batch_generation_block_until_done")
    assert [getattr(llm, name) for name in (*fields, "jobs_ids")] == [False, None, None]
    with pytest.raises(RuntimeError) as caught:
        run(one_step(tmp_path, llm_of(endpoint, use_offline_batch_generation=True)))
    assert "no offline batches" in str(caught.value.__cause__)
    assert not endpoint.generations


def test_the_log_says_how_long_batches_get_on(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A model's logger has the model's name, as upstream's has."""
    endpoint = simulated_endpoint(flavor="tgi", model="org/served")
    log = Log()
    generations = {"typical_p": 0.5}
    run(one_step(tmp_path, llm_of(endpoint, generation_kwargs=generations)), log)
    assert log.lines("distilabel.llm.org/served") == [
        "'typical_p' is dropped: tgi does not take it on this path."
    ]
