"""`generate_dataset`: what goes in, what comes out, what is refused, and resuming after a stop."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.dataset import FinishedRun
from distilabel_endpoints.errors import (
    ConfigurationError,
    CreditError,
    FingerprintError,
    InputError,
    LockedError,
    ParameterError,
)
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.rows import Row, open_rows
from distilabel_endpoints.runs.scan import Ids
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


@pytest.fixture
def endpoint(simulated_endpoint: Make) -> SimulatedEndpoint:
    return simulated_endpoint(flavor="vllm")


@pytest.fixture
def llm(endpoint: SimulatedEndpoint) -> Iterator[InferenceEndpointsLLM]:
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        yield llm


def prompts(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"row-{n}", "prompt": f"Question {n}?", **more} for n in range(count)]


def generate(llm: InferenceEndpointsLLM, given: Any, output: Path, **more: Any) -> FinishedRun:
    return distilabel_endpoints.generate_dataset(
        llm, given, output, progress=open_progress("quiet"), **more
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_parquet(rows: list[dict[str, Any]], folder: Path) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def as_dataset(rows: list[dict[str, Any]], _: Path) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def as_generator(rows: list[dict[str, Any]], _: Path) -> Any:
    return (row for row in rows)


def as_list(rows: list[dict[str, Any]], _: Path) -> Any:
    return rows


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("form", [as_list, as_generator, as_dataset, as_parquet])
def test_every_input_to_every_output(
    llm: InferenceEndpointsLLM, tmp_path: Path, form: Callable[..., Any], suffix: str
) -> None:
    """Same rows, whatever they come as: the same columns, ours behind them, in order."""
    output = tmp_path / f"out.{suffix}"
    done = generate(llm, form(prompts(12), tmp_path), output)
    rows = rows_of(output)
    assert [row["id"] for row in rows] == [f"row-{n}" for n in range(12)]
    assert list(rows[0])[:3] == ["id", "prompt", "generation"]
    assert all(row["generation"] and not row["error"] for row in rows)
    assert (done.summary.ok, done.summary.failed, done.summary.pending) == (12, 0, 0)
    assert done.summary.answers == 12
    assert done.summary.run_tokens.output_tokens == sum(row["output_tokens"] for row in rows)
    assert done.output == output


@pytest.mark.promise("S14")
def test_what_comes_once_is_kept_for_its_owner(llm: InferenceEndpointsLLM, tmp_path: Path) -> None:
    """A generator's rows are beside the output, owner-only, and only as many as asked for."""

    def endless() -> Iterator[dict[str, Any]]:
        n = 0
        while True:
            yield {"prompt": f"Question {n}?"}
            n += 1

    generate(llm, endless(), tmp_path / "out.jsonl", limit=5)
    kept = tmp_path / "out.jsonl.input.jsonl"
    assert len(rows_of(kept)) == 5
    assert kept.stat().st_mode & 0o777 == 0o600
    assert len(rows_of(tmp_path / "out.jsonl")) == 5


@pytest.mark.timeout(60)
def test_a_path_may_be_a_named_pipe(llm: InferenceEndpointsLLM, tmp_path: Path) -> None:
    """Whatever writes JSON lines into a pipe is a source; other formats are refused at once."""
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"prompt": "a"}\n',))
    writer.start()
    done = generate(llm, pipe, tmp_path / "out.jsonl")
    writer.join()
    assert done.summary.ok == len(rows_of(tmp_path / "out.jsonl")) == 1
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(ConfigurationError, match="read only once"):
        generate(llm, tmp_path / "rows.csv", tmp_path / "csv.jsonl")


def test_rows_that_come_once_are_not_replaced_under_a_writer(
    llm: InferenceEndpointsLLM, tmp_path: Path
) -> None:
    """While another writes this output, its kept rows stay as they are."""
    from distilabel_endpoints._store.journal import Journal

    output = tmp_path / "out.jsonl"
    kept = tmp_path / "out.jsonl.input.jsonl"
    kept.write_text('{"prompt": "theirs"}\n')
    with Journal(output, {}), pytest.raises(LockedError):
        generate(llm, iter(prompts(3)), output)
    assert kept.read_text() == '{"prompt": "theirs"}\n'


def test_a_generator_that_breaks_says_its_own_error(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """What the caller's iterable raises comes through, an `OSError` too; nothing was sent."""

    def broken() -> Iterator[dict[str, Any]]:
        yield {"prompt": "first"}
        raise FileNotFoundError("their file")

    with pytest.raises(FileNotFoundError, match="their file"):
        generate(llm, broken(), tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="row 2 of the input"):
        generate(llm, iter([{"prompt": "a"}, {"prompt": object()}]), tmp_path / "out.jsonl")
    assert endpoint.generations == ()
    assert list(tmp_path.iterdir()) == []


def test_the_output_as_a_dataset(llm: InferenceEndpointsLLM, tmp_path: Path) -> None:
    """`.to_dataset()` of a Parquet output and of JSON lines."""
    rows = prompts(4)
    for name in ("out.parquet", "out.jsonl"):
        found = generate(llm, rows, tmp_path / name).to_dataset()
        assert found["prompt"][:] == [row["prompt"] for row in rows]
        assert all(found["generation"][:])


@pytest.mark.parametrize("form", [as_list, as_generator])
def test_the_same_call_goes_on_after_a_stop(
    simulated_endpoint: Make, tmp_path: Path, form: Callable[..., Any]
) -> None:
    """No credit is raised with nothing filed; the call again sends only what is left."""
    broke = Fault(Respond(402, {"error": "no credit"}), marker="Question 2")
    endpoint = simulated_endpoint(faults=(broke,))
    output = tmp_path / "out.jsonl"
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=4) as llm:
        with pytest.raises(CreditError, match="credit"):
            generate(llm, form(prompts(30), tmp_path), output)
        assert not output.exists()
        endpoint.clear_faults()
        done = generate(llm, form(prompts(30), tmp_path), output)
    assert done.summary.resumed > 0
    assert done.summary.ok == 30
    asked = [record.body["messages"][-1]["content"] for record in endpoint.generations]
    answered = {f"Question {n}?" for n in range(30)}
    assert set(asked) == answered
    assert len(rows_of(output)) == 30


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"temprature": 1}, ParameterError, "temperature"),
        ({"temperature": -1.0}, ParameterError, "temperature"),
        ({"num_generations": 0}, InputError, "num_generations"),
        ({"input_column": "question"}, ConfigurationError, "question"),
        ({"template": "{{ id "}, ConfigurationError, "template"),
        ({"template": "{{ id }}", "input_column": "id"}, ConfigurationError, "not both"),
        ({"on_bad_row": "ignore"}, InputError, "on_bad_row"),
        ({"limit": 0}, InputError, "limit"),
    ],
)
def test_wrong_settings_are_known_before_the_start(
    llm: InferenceEndpointsLLM,
    endpoint: SimulatedEndpoint,
    tmp_path: Path,
    settings: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    """Each names what is wrong; no request, no output, no journal."""
    with pytest.raises(error, match=said):
        generate(llm, prompts(3), tmp_path / "out.jsonl", **settings)
    assert endpoint.generations == ()
    assert list(tmp_path.iterdir()) == []


def test_rows_bring_parameters_and_structure_of_their_own(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """`parameters` win over the run's; `structured_output` constrains that row alone."""
    rows = [
        {"prompt": "a", "parameters": {"temperature": 0.25}},
        {"prompt": "b", "parameters": None},
        {"prompt": "c", "structured_output": {"format": "choice", "schema": ["yes", "no"]}},
        {"prompt": "d", "parameters": {"temperatur": 1}},
    ]
    output = tmp_path / "out.jsonl"
    done = generate(llm, rows, output, temperature=0.75)
    sent = {record.body["messages"][-1]["content"]: record.body for record in endpoint.generations}
    assert {name: body["temperature"] for name, body in sent.items()} == {
        "a": 0.25,
        "b": 0.75,
        "c": 0.75,
    }
    assert "yes" in json.dumps(sent["c"])
    assert done.summary.failed == 1
    assert "temperatur" in rows_of(output)[3]["error"]


def test_a_row_asks_for_no_more_than_the_output_holds(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """Tools of a row alone would be called in an answer that no column holds: it is not sent."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    rows = [
        {"prompt": "a", "parameters": None},
        {"prompt": "b", "parameters": {"tools": tools}},
        {"prompt": "c", "parameters": {"logprobs": True}},
    ]
    done = generate(llm, rows, tmp_path / "some.jsonl")
    assert (done.summary.ok, len(endpoint.generations)) == (1, 1)
    errors = [row["error"] for row in rows_of(tmp_path / "some.jsonl")]
    assert "--param tools=..." in errors[1]
    assert "--param logprobs=..." in errors[2]
    done = generate(llm, rows, tmp_path / "all.jsonl", tools=tools, logprobs=True)
    assert done.summary.ok == 3
    assert {"tool_calls", "logprobs"} <= rows_of(tmp_path / "all.jsonl")[1].keys()


def test_template_and_system(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """A template over the columns is what the user says; the system message stands before it."""
    rows = [{"topic": "tides", "words": 5}]
    generate(
        llm,
        rows,
        tmp_path / "out.jsonl",
        template="{{ topic }} in {{ words }} words",
        system="Be short.",
    )
    assert endpoint.generations[0].body["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "tides in 5 words"},
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_several_generations(llm: InferenceEndpointsLLM, tmp_path: Path, suffix: str) -> None:
    """`generations` and `finish_reason` are lists of that length, tokens are the row's sum."""
    output = tmp_path / f"out.{suffix}"
    done = generate(llm, prompts(3), output, num_generations=3)
    rows = rows_of(output)
    assert [len(row["generations"]) for row in rows] == [3, 3, 3]
    assert [len(row["finish_reason"]) for row in rows] == [3, 3, 3]
    assert all(isinstance(row["output_tokens"], int) for row in rows)
    assert done.summary.answers == 9


def test_other_settings_are_refused(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """Resuming with another seed or system message names them; `fresh` starts over."""
    output = tmp_path / "out.jsonl"
    generate(llm, prompts(3), output, seed=1)
    with pytest.raises(FingerprintError, match="seed"):
        generate(llm, prompts(3), output, seed=2)
    with pytest.raises(FingerprintError, match="system"):
        generate(llm, prompts(3), output, seed=1, system="Be short.")
    assert len(endpoint.generations) == 3
    generate(llm, prompts(3), output, seed=2, fresh=True)
    assert len(endpoint.generations) == 6


@pytest.mark.parametrize("place", [0, 2])
def test_a_column_of_ours_is_never_written_over(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path, place: int
) -> None:
    """A clash in any row stops before the first request; a prefix is the way on."""
    rows = prompts(3)
    rows[place]["generation"] = "theirs"
    output = tmp_path / "out.jsonl"
    with pytest.raises(ConfigurationError, match="column prefix"):
        generate(llm, rows, output)
    assert endpoint.generations == ()
    generate(llm, rows, output, column_prefix="ai_")
    found = rows_of(output)
    assert found[place]["generation"] == "theirs"
    assert all(row["ai_generation"] and not row["ai_error"] for row in found)


def test_another_prefix_writes_the_output_anew(
    llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint, tmp_path: Path
) -> None:
    """What a finished run answered is written under the new names, with no request."""
    output = tmp_path / "out.jsonl"
    generate(llm, prompts(3), output)
    generate(llm, prompts(3), output, column_prefix="ai_")
    assert all(row["ai_generation"] for row in rows_of(output))
    assert len(endpoint.generations) == 3


def test_repeated_ids_are_counted_and_kept(llm: InferenceEndpointsLLM, tmp_path: Path) -> None:
    """Rows whose id came before are counted once over all calls, appended ones added."""
    rows = [{"id": name, "prompt": f"{name} {n}"} for n, name in enumerate("abacab")]
    output = tmp_path / "out.jsonl"
    assert generate(llm, rows, output).summary.duplicate_ids == 3
    assert generate(llm, rows, output).summary.duplicate_ids == 3
    more = [*rows, {"id": "x", "prompt": "6"}, {"id": "x", "prompt": "7"}]
    assert generate(llm, more, output).summary.duplicate_ids == 4
    assert [row["id"] for row in rows_of(output)] == list("abacabxx")
    unnamed = [{"id": None, "prompt": "a"}, {"id": None, "prompt": "b"}, {"prompt": "c"}]
    assert generate(llm, unnamed, tmp_path / "none.jsonl").summary.duplicate_ids == 0


def count_ids(ids: Ids, *names: str | int) -> int:
    for row in open_rows([{"id": name} for name in names]):
        assert isinstance(row, Row)
        ids.add(row)
    return ids.duplicates


def test_ids_are_kept_in_bounded_memory() -> None:
    """The rows after `most` are not compared."""
    assert count_ids(Ids(most=4), "a", 1, "a", 1, 1, "a") == 2


def test_repeats_that_were_counted_are_not_counted_again() -> None:
    """Rows before `counted` are compared with; only later ones add to what was known."""
    assert count_ids(Ids(counted=3, duplicates=1), "a", "b", "a", "b", "c") == 2
