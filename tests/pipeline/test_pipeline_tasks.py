"""The tasks that programs use, each as a pipeline that really runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import TOKEN, Log, instructions, llm_of, new, run, spoken
from pydantic import BaseModel

from distilabel.steps import GroupColumns, LoadDataFromDicts
from distilabel.steps.tasks import (
    ChatGeneration,
    EvolInstruct,
    Magpie,
    MagpieGenerator,
    StructuredGeneration,
    Task,
    TextGeneration,
    TextGenerationWithImage,
    UltraFeedback,
)
from distilabel_endpoints.pipeline import InferenceEndpointsLLM
from distilabel_endpoints.testing import (
    AnswerRequest,
    Fault,
    HubModel,
    Limits,
    Respond,
    SimulatedEndpoint,
)

Make = Callable[..., SimulatedEndpoint]


class User(BaseModel):
    """What an answer must fit."""

    name: str
    age: int


SCHEMA = User.model_json_schema()


def rated(request: AnswerRequest) -> str:
    """Answers as `UltraFeedback` wants them; others as they are asked for."""
    if "#### Output" not in request.text and "<text 1>" not in request.text.lower():
        return f"an answer to {request.text.splitlines()[-1]}"
    return "Rating: 4\nRationale: good\n\nRating: 2\nRationale: poor"


def test_text_generation(simulated_endpoint: Make, tmp_path: Path) -> None:
    """System prompt, several generations, a key and a header, over an endpoint that fails at
    times: every row is there, and the endpoint got all of it."""
    endpoint = simulated_endpoint(
        flavor="tgi", slots=8, limits=Limits(queue=4), faults=(Fault(Respond(503), chance=0.1),)
    )
    log = Log()
    with new(tmp_path) as pipeline:
        generate = TextGeneration(
            llm=llm_of(
                endpoint,
                api_key="a-key",
                headers={"x-team": "blue"},
                model_display_name="shown",
                generation_kwargs={"max_new_tokens": 16, "temperature": 0.7, "top_k": 5},
            ),
            system_prompt="Be kind.",
            num_generations=2,
            input_batch_size=40,
        )
        instructions(100) >> generate
    rows = run(pipeline, log, use_cache=False)
    assert [row["instruction"] for row in rows] == [f"say {i // 2}" for i in range(200)]
    assert all(isinstance(row["generation"], str) for row in rows)
    assert {row["model_name"] for row in rows} == {"shown"}
    statistics = [row["distilabel_metadata"]["statistics_text_generation_0"] for row in rows]
    assert all(entry["error"] == "" and entry["output_tokens"] > 0 for entry in statistics)
    served = [record for record in endpoint.generations if record.status == 200]
    assert len(served) == 200
    for record in served:
        assert record.headers["authorization"] == "Bearer a-key"
        assert record.headers["x-team"] == "blue"
        assert record.body["max_tokens"] == 16
        assert record.body["messages"][0] == {"role": "system", "content": "Be kind."}
    # TGI's chat does not take top_k: dropped, and said once, though there were three batches.
    assert [line for line in log.lines() if "top_k" in line] == [
        "'top_k' is dropped: tgi does not take it on this path."
    ]
    assert not [line for line in log.lines("", 0) if "HTTP Request" in line]


def test_the_router_with_its_models_tokenizer(simulated_hugging_face: Make, tmp_path: Path) -> None:
    """`model_id` and `tokenizer_id` naming one repository, as most programs do: chat, and one
    warning in the log."""
    hub = simulated_hugging_face(models=(HubModel("org/open", providers=("together",)),))
    log = Log()
    with new(tmp_path) as pipeline:
        generate = TextGeneration(
            llm=InferenceEndpointsLLM(model_id="org/open", tokenizer_id="org/open", api_key=TOKEN),
            input_batch_size=5,
        )
        instructions(20) >> generate
    rows = run(pipeline, log, use_cache=False)
    assert all(row["generation"] for row in rows)
    assert {row["model_name"] for row in rows} == {"org/open"}
    assert {record.path for record in hub.generations} == {"/router/v1/chat/completions"}
    assert len([line for line in log.lines() if "tokenizer_id is not used" in line]) == 1


def test_ultrafeedback_over_grouped_generations(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Two generations of one model in a list, rated by another."""
    writer = simulated_endpoint(flavor="vllm", model="writer")
    judge = simulated_endpoint(flavor="tgi", model="judge", reply=rated)
    with new(tmp_path) as pipeline:
        write = TextGeneration(llm=llm_of(writer), num_generations=2, group_generations=True)
        rate = UltraFeedback(
            llm=llm_of(judge), input_mappings={"generations": "generation"}, aspect="overall-rating"
        )
        instructions(12) >> write >> rate
    rows = run(pipeline, use_cache=False)
    assert len(rows) == 12
    assert all(len(row["generation"]) == 2 and row["ratings"] == [4, 2] for row in rows)
    # vLLM gives both generations in one request.
    assert [record.body.get("n") for record in writer.generations] == [2] * 12


def test_two_models_grouped(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Each row answered by two models, the answers in one column, rated."""
    one, two = (simulated_endpoint(flavor="tgi", model=name) for name in ("one", "two"))
    judge = simulated_endpoint(flavor="tgi", model="judge", reply=rated)
    with new(tmp_path) as pipeline:
        load = instructions(12)
        writers = [TextGeneration(name=e.settings.model, llm=llm_of(e)) for e in (one, two)]
        group = GroupColumns(
            columns=["generation", "model_name"],
            output_columns=["generations", "generation_models"],
        )
        rate = UltraFeedback(llm=llm_of(judge))
        load.connect(*writers)
        for writer in writers:
            writer.connect(group)
        group.connect(rate)
    rows = run(pipeline, use_cache=False)
    assert len(rows) == 12
    assert all(sorted(row["generation_models"]) == ["one", "two"] for row in rows)
    assert all(row["ratings"] == [4, 2] for row in rows)


def test_chat_generation(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Conversations of several turns from a column, with the nulls that Arrow puts into them."""
    endpoint = simulated_endpoint(flavor="vllm")
    turns = [
        {"role": "user", "content": "Hi", "name": None},
        {"role": "assistant", "content": "Hello", "name": None},
        {"role": "user", "content": "How are you?", "name": None},
    ]
    with new(tmp_path) as pipeline:
        load = LoadDataFromDicts(data=[{"messages": turns} for _ in range(5)])
        load >> ChatGeneration(llm=llm_of(endpoint))
    rows = run(pipeline, use_cache=False)
    assert all(row["generation"] for row in rows)
    wanted = [{k: v for k, v in turn.items() if v is not None} for turn in turns]
    assert all(record.body["messages"] == wanted for record in endpoint.generations)


def test_evol_instruct(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Instructions evolved twice and answered, through a task that calls `generate` itself."""
    endpoint = simulated_endpoint(flavor="tgi", faults=(Fault(Respond(503), every=7),))
    with new(tmp_path) as pipeline:
        instructions(10) >> EvolInstruct(
            llm=llm_of(endpoint), num_evolutions=2, generate_answers=True, store_evolutions=True
        )
    rows = run(pipeline, use_cache=False)
    assert len(rows) == 10
    assert all(len(row["evolved_instructions"]) == len(row["answers"]) == 2 for row in rows)


@pytest.mark.parametrize("given", [{"format": "json", "schema": User}, {"schema": SCHEMA}])
def test_structured_output_of_the_llm(
    simulated_endpoint: Make, tmp_path: Path, given: dict[str, Any]
) -> None:
    """A pydantic model, or its schema without a format, for every row; the pipeline is saved."""
    endpoint = simulated_endpoint(flavor="vllm")
    with new(tmp_path) as pipeline:
        instructions(6) >> TextGeneration(llm=llm_of(endpoint, structured_output=given))
    pipeline.save(tmp_path / "saved.yaml", format="yaml")
    assert "title: User" in (tmp_path / "saved.yaml").read_text()
    for row in run(pipeline, use_cache=False):
        User.model_validate_json(row["generation"])


def test_structured_output_of_the_task(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A task's own schema reaches the server, without the packages that upstream asks for."""
    endpoint = simulated_endpoint(flavor="vllm")
    with new(tmp_path) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": "x", "generations": ["a", "b"]}] * 4)
        load >> UltraFeedback(llm=llm_of(endpoint), use_default_structured_output=True)
    rows = run(pipeline, use_cache=False)
    assert all(isinstance(row["ratings"], list) for row in rows)
    asked = [record.body["response_format"]["json_schema"] for record in endpoint.generations]
    assert all(one["schema"]["title"] == "SchemaUltraFeedback" for one in asked)


@pytest.mark.parametrize("text", [False, True], ids=["chat", "text"])
def test_structured_output_of_each_row(
    simulated_endpoint: Make, tmp_path: Path, tokenizer: str, text: bool
) -> None:
    """`StructuredGeneration`: each row's own schema or pattern, and metadata that can be saved."""
    endpoint = simulated_endpoint(flavor="tgi")
    more = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    data = [
        {"instruction": f"say {i}", "structured_output": {"format": "json", "schema": schema}}
        for i, schema in enumerate([json.dumps(SCHEMA), json.dumps(more)] * 3)
    ]
    data.append(
        {"instruction": "say 6", "structured_output": {"format": "regex", "schema": "[a-c]{3}"}}
    )
    with new(tmp_path) as pipeline:
        LoadDataFromDicts(data=data) >> StructuredGeneration(
            name="structured", llm=llm_of(endpoint, tokenizer_id=tokenizer if text else None)
        )
    rows = run(pipeline, use_cache=False)
    for row in rows[0:6:2]:
        User.model_validate_json(row["generation"])
    for row in rows[1:6:2]:
        assert json.loads(row["generation"])["ok"] in {True, False}
    assert len(rows[6]["generation"]) == 3
    raw = rows[6]["distilabel_metadata"]["raw_input_structured"]
    assert raw == [{"role": "user", "content": "say 6"}]


def test_magpie(simulated_endpoint: Make, tmp_path: Path, tokenizer: str) -> None:
    """Instructions out of the template alone: the prompt before it, the answer after it."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        LoadDataFromDicts(data=[{"system_prompt": "You are wise."}] * 6) >> Magpie(
            llm=llm_of(endpoint, tokenizer_id=tokenizer, magpie_pre_query_template="qwen2"),
            n_turns=2,
        )
    rows = run(pipeline, use_cache=False)
    assert all(len(row["conversation"]) == 4 for row in rows)
    prompts = spoken(endpoint)
    before = "<|im_start|>system\nYou are wise.<|im_end|>\n<|im_start|>assistant\n"
    assert prompts.count(before + "<|im_start|>user\n") == 6
    assert sum(prompt.endswith("<|im_end|>\n<|im_start|>assistant\n") for prompt in prompts) == 12


def test_magpie_generator(simulated_endpoint: Make, tmp_path: Path, tokenizer: str) -> None:
    """The same as a step that begins a pipeline."""
    endpoint = simulated_endpoint(flavor="tgi")
    with new(tmp_path) as pipeline:
        MagpieGenerator(
            llm=llm_of(endpoint, tokenizer_id=tokenizer, magpie_pre_query_template="<|user|>"),
            num_rows=12,
            batch_size=6,
            only_instruction=True,
        )
    rows = run(pipeline, use_cache=False)
    assert len(rows) == 12
    assert all(row["instruction"] for row in rows)
    assert set(spoken(endpoint)) == {"<|user|>"}


def test_images(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A message with an image beside its text."""
    endpoint = simulated_endpoint(flavor="vllm")
    url = "data:image/png;base64,iVBORw0KGgo="
    with new(tmp_path) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": "What is it?", "image": url}] * 3)
        load >> TextGenerationWithImage(llm=llm_of(endpoint), image_type="url")
    rows = run(pipeline, use_cache=False)
    assert all(row["generation"] for row in rows)
    for record in endpoint.generations:
        parts = record.body["messages"][-1]["content"]
        assert [part["type"] for part in parts] == ["text", "image_url"]


class Continue(Task):
    """A task of a program's own, which gives texts instead of conversations."""

    @property
    def inputs(self) -> list[str]:
        return ["instruction"]

    @property
    def outputs(self) -> list[str]:
        return ["continuation"]

    def format_input(self, input: dict[str, Any]) -> Any:  # noqa: A002 - upstream's name
        return f"Once {input['instruction']}"

    def format_output(
        self,
        output: str | None,
        input: dict[str, Any] | None = None,  # noqa: A002
    ) -> dict[str, Any]:
        return {"continuation": output}


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_texts_as_inputs(
    simulated_endpoint: Make, tmp_path: Path, tokenizer: str, with_tokenizer: bool
) -> None:
    """A prompt that a task made itself goes out as it is, with a tokenizer and without."""
    endpoint = simulated_endpoint(flavor="tgi")
    llm = llm_of(endpoint, tokenizer_id=tokenizer if with_tokenizer else None)
    with new(tmp_path) as pipeline:
        instructions(5) >> Continue(llm=llm)
    rows = run(pipeline, use_cache=False)
    assert all(row["continuation"] for row in rows)
    assert sorted(spoken(endpoint)) == [f"Once say {i}" for i in range(5)]


def test_what_else_an_answer_has(simulated_endpoint: Make, tmp_path: Path) -> None:
    """Reasoning, tool calls and log-probabilities become columns, as upstream names them."""
    endpoint = simulated_endpoint(flavor="vllm", reasoning=True)
    with new(tmp_path) as pipeline:
        instructions(4) >> TextGeneration(
            name="gen",
            llm=llm_of(endpoint, generation_kwargs={"logprobs": True, "top_logprobs": 2}),
        )
    for row in run(pipeline, use_cache=False):
        assert row["llm_gen_reasoning"]
        assert len(row["llm_gen_logprobs"]) > 0
        assert all(len(place) == 2 for place in row["llm_gen_logprobs"])
        assert set(row["llm_gen_logprobs"][0][0]) == {"token", "logprob"}
