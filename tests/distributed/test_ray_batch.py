"""OpenAI batch files over Ray: the same lines as a run of one process writes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command import run, start
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import DamagedError, OutputExistsError
from distilabel_endpoints.ray.lines_file import LinesFile
from distilabel_endpoints.ray.marker import Marker
from distilabel_endpoints.ray.result_columns import RESULT, added_to, failures_column, result_of
from distilabel_endpoints.ray.source import FAILURE, look_through
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
from distilabel_endpoints.rows import OutputColumns, open_rows
from distilabel_endpoints.runs import RunOptions
from distilabel_endpoints.testing import Fault, Latency, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

COLUMNS = OutputColumns("m", layout="openai-batch", error_file="/errors.jsonl")
TEXT = st.text(max_size=8)
COMPLETIONS = st.builds(
    Completion,
    text=TEXT | st.none(),
    finish_reason=st.sampled_from(["stop", "length", None]),
    reasoning=TEXT | st.none(),
    logprobs=st.none() | st.just([{"token": "a", "logprob": -0.1}]),
    tool_calls=st.none() | st.just(({"id": "1", "function": {"name": "f", "arguments": "{}"}},)),
)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    message=TEXT,
    status=st.none() | st.integers(400, 599),
    request_id=TEXT | st.none(),
    text=TEXT | st.none(),
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """A line's result: any number of choices, each answered or failed."""
    endings = draw(st.lists(COMPLETIONS | FAILURES, min_size=1, max_size=3))
    return Result(
        ordinal=draw(st.integers(0, 10**9)),
        completions=tuple(one if isinstance(one, Completion) else None for one in endings),
        failures=tuple(one if isinstance(one, Failure) else None for one in endings),
        usages=tuple(draw(st.lists(st.builds(Usage, st.integers(0, 9), st.none()), max_size=2))),
        attempts=draw(st.integers(1, 9)),
    )


@given(results())
@settings(deadline=None)  # the first call imports
def test_a_shard_keeps_the_whole_result_of_a_line(result: Result) -> None:
    """What a line of the output needs comes back as it was, and a failed line is marked as one."""
    block = added_to(pa.table({"custom_id": ["a"]}), COLUMNS, [result])
    block = block.append_column(FAILURE, failures_column([result]))
    (cells,) = block.to_pylist()
    assert result_of(COLUMNS, result.ordinal, cells, Path("shard")) == result
    assert (cells["error_code"] is not None) == (result.status == "failed")


def test_a_result_in_another_hand_is_damage() -> None:
    """A shard that was written over is an error that names it, not a wrong line."""
    with pytest.raises(DamagedError, match=r"shard\.parquet holds a result that no run wrote"):
        result_of(COLUMNS, 0, {RESULT: b"[]"}, Path("shard.parquet"))


def body_of(n: int) -> dict[str, Any]:
    """Bodies differ in their keys and types, as those of a batch file may."""
    extra: list[dict[str, Any]] = [
        {},
        {"n": 2, "seed": n},
        {"stop": None, "logit_bias": {str(n): -1.5}},
        {"logprobs": True, "top_logprobs": 2},
        {"stop": ["x", "y"], "metadata": {"a": [1, {"b": n}]}},
    ]
    return {
        "model": "simulated-model",
        "messages": [{"role": "user", "content": f"Question {n}?"}],
        "max_tokens": 12,
        **extra[n % len(extra)],
    }


def write_batch(path: Path, count: int) -> Path:
    lines = [
        {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body_of(n),
        }
        for n in range(count)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_bodies_reach_workers_as_they_are(tmp_path: Path) -> None:
    """No key is added, left out or turned into another type on the way through tables."""
    path = write_batch(tmp_path / "batch.jsonl", 20)
    file = look_through(str(path), is_batch=True)
    (table,) = file.tables()
    assert [json.loads(body) for body in table["body"].to_pylist()] == [
        body_of(n) for n in range(20)
    ]


def test_lines_replace_no_file_of_somebody_else(tmp_path: Path) -> None:
    """A file that the run did not write is refused before the start, unless it starts over."""
    source = open_rows(str(write_batch(tmp_path / "batch.jsonl", 1)))
    lines = LinesFile(tmp_path / "answers", RunOptions())
    columns = OutputColumns("m", layout="openai-batch", error_file=str(lines.errors))
    for path in (lines.path, lines.errors):
        path.write_text("mine\n")
        with pytest.raises(OutputExistsError, match=path.name):
            lines.check(columns, source, None, is_fresh=False)
        lines.check(columns, source, None, is_fresh=True)
        path.unlink()
    lines.check(columns, source, None, is_fresh=False)


def test_lines_that_the_run_wrote_are_written_again(tmp_path: Path) -> None:
    """A file that the marker knows is the run's own; once it is edited, it is not."""
    path = write_batch(tmp_path / "batch.jsonl", 1)
    source, folder = open_rows(str(path)), tmp_path / "answers"
    lines = LinesFile(folder, RunOptions())
    columns = OutputColumns("m", layout="openai-batch", error_file=str(lines.errors))
    about = {"columns": {**vars(columns)}}
    marker = Marker.of({}, look_through(str(path), is_batch=True), about)
    marker = lines.write(columns, source, marker)
    assert lines.path.read_text() == ""
    assert Marker.read(folder) == marker
    lines.path.write_text("")
    lines.path.write_text("edited\n")
    with pytest.raises(OutputExistsError, match="was changed since this run wrote it"):
        lines.check(columns, source, marker, is_fresh=False)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_batch_file_over_ray(simulated_endpoint: Make, tmp_path: Path, short_folder: str) -> None:
    """Interrupted and resumed it writes the bytes of a run of one process, errors beside it."""
    refuses = Fault(Respond(400, {"error": "too long"}), marker="Question 7?")
    endpoint = simulated_endpoint(flavor="vllm", latency=Latency(0.1), faults=(refuses,))
    path, out = write_batch(tmp_path / "batch.jsonl", 600), tmp_path / "answers"
    words: tuple[object, ...] = ("generate", path, "-o", out, "--base-url", endpoint.url)
    words = (*words, "--ray", "--json", "--format", "openai-batch", "--max-concurrency", 8)
    driver = start(*words, RAY_TMPDIR=short_folder)
    endpoint.wait_for(lambda _: len(endpoint.generations) > 100, timeout=120)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=240)
    assert driver.returncode == 130, errors
    assert not out.with_name("answers.jsonl").exists()
    driver = start(*words, RAY_TMPDIR=short_folder)
    shown, errors = driver.communicate(timeout=240)
    assert driver.returncode == 2, errors
    last = json.loads(shown.splitlines()[-1])
    assert (last["ok"], last["failed"], last["pending"]) == (599, 1, 0)
    assert last["output"] == str(tmp_path / "answers.jsonl")
    answered = [r for r in endpoint.generations if r.status == 200]
    assert len(answered) == 599
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        generate_dataset(llm, path, tmp_path / "local.jsonl")
    for name in ("{}.jsonl", "{}.errors.jsonl"):
        over_ray, local = (tmp_path / name.format(stem) for stem in ("answers", "local"))
        assert over_ray.read_bytes() == local.read_bytes()
        assert over_ray.stat().st_size
    exported = run("export", out, "--to", tmp_path / "again.jsonl")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    assert "599 ok, 1 failed of 600 rows" in run("status", out).stdout
    assert run("report", out, "-o", tmp_path / "page.html").returncode == 0
